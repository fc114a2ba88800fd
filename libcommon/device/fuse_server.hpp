// SPDX-License-Identifier: Apache-2.0
// Answers the kernel's FUSE requests for one region shown as one regular file: node 1 is the file,
// there is no directory. Knows requests, not mounting: it serves any descriptor that speaks the
// protocol.
//
// Threads: a thread that receives a request answers it. Only before it has to wait for the backend
// does it make sure that another one listens, so memory is served by few threads and a long link by
// many.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <ctime>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/storage/backend.hpp"

struct fuse_session;

namespace r3 {

class FuseServer {
 public:
  // Uses mode, owner, group, read_only, threads and on_ended. Throws EFBIG for a size that no file
  // has.
  FuseServer(Backend& backend, const DeviceOptions& options);
  // Ends the threads, whatever they wait for in the kernel; what waits in the backend must be able
  // to end.
  ~FuseServer();

  // Mounts on `path` ("/dev/fd/N": serves the open descriptor N, mounts nothing) with libfuse's
  // mount options, and starts to serve.
  void start(const std::string& path, const std::vector<std::string>& mount_options);
  // Waits until the kernel and this server have agreed on what they can do. Throws if they cannot.
  void wait_until_agreed();
  // Whether the kernel still has the connection; asks it.
  bool connected() const;
  // Waits until the kernel has ended the connection; false if it has not by then.
  bool wait_until_ended(std::chrono::steady_clock::time_point then) const;
  void join();
  // Ends the threads, though the connection may go on.
  void interrupt() noexcept;

  // Makes the backend durable, if anything was written since the last time; who comes while another
  // one does that waits for it. Returns 0 or an errno.
  int flush() noexcept;
  DeviceCounters counters() const;

 private:
  friend struct FuseOperations;
  class Waiting;
  class Change;

  struct Memory;
  void serve(Memory& memory);
  void spawn_server();
  void add_server();
  void sever() noexcept;

  Backend& backend_;
  const DeviceOptions options_;
  fuse_session* session_ = nullptr;
  int fd_ = -1;  // the session's
  std::atomic<unsigned> started_{0};    // threads, ever
  std::atomic<unsigned> running_{0};    // threads that have not ended
  std::atomic<unsigned> listening_{0};  // threads that do not wait for the backend
  std::atomic<bool> leaving_{false};
  std::atomic<bool> agreed_{false};
  Stop begun_;  // agreed, or all threads have ended
  Stop ended_;  // all threads have
  std::mutex threads_mutex_;
  std::vector<pthread_t> threads_;  // guarded by threads_mutex_; those that run

  mutable std::mutex attributes_mutex_;
  struct stat attributes_{};  // guarded by attributes_mutex_; size and type never change
  std::atomic<std::time_t> modified_;
  std::mutex flush_mutex_;  // held until it is known how a flush ended
  std::atomic<bool> unflushed_{false};
  std::atomic<std::uint64_t> opens_{0};  // if the kernel tells
  std::atomic<bool> no_open_{false};     // the kernel need not tell about open and close

  std::atomic<std::uint64_t> reads_{0}, read_bytes_{0}, writes_{0}, written_bytes_{0};
  std::atomic<std::uint64_t> waiting_{0}, lost_bytes_{0}, progress_{0};
  TaskGroup servers_;  // last: they use all of the above
};

}  // namespace r3
