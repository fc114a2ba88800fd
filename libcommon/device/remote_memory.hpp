// SPDX-License-Identifier: Apache-2.0
// For programs: a region that uffd-serve(1) serves, as memory of this process. Pages come when they are
// touched, or before. A page that cannot be had raises SIGBUS with its address; if the server dies, who
// touches an absent page waits until another one (uffd-serve --adopt) has taken over.
//
//   r3::RemoteMemory memory("unix:/run/region.sock");
//   const std::byte first = memory.bytes()[0];
//
// bytes() may be used by any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/base/tasks.hpp"

namespace r3 {

class RemoteMemory {
 public:
  enum class Kind { anonymous, shared, huge };  // ordinary pages, of a memfd, or of 2 MiB (hugetlbfs)

  struct Options {
    Kind kind = Kind::anonymous;
    bool writable = false;  // what is written goes back to the region; needs uffd-serve --writable
    // The server has gone, or another one has taken over; in a thread of its own.
    std::function<void(bool connected)> on_change = {};
  };

  // `address`: unix:PATH, unix:@NAME or a path. Throws std::system_error or ProtocolError.
  explicit RemoteMemory(const std::string& address);
  RemoteMemory(const std::string& address, Options options);
  // What was written and not pushed is pushed, as far as the server is there. In a forked child, which
  // has a copy of the memory but not of the connection, nothing happens.
  ~RemoteMemory();
  RemoteMemory(const RemoteMemory&) = delete;
  RemoteMemory& operator=(const RemoteMemory&) = delete;

  // As long as the region. Without Options::writable, writes are this process's own.
  Bytes bytes() const { return bytes_.first(size_); }
  // Returns when the region has everything that was written before the call; the bytes pushed. If the
  // server has died, waits for the one that takes over.
  std::uint64_t push();

  // For leaving although a server does not answer: who waits for a page gets zeroes from now on, and has
  // to know that they mean nothing.
  void abandon() noexcept;

  // How the userfaultfd was opened; with `user_mode_only`, system calls cannot touch absent pages (EFAULT).
  const std::string& access() const { return access_; }
  bool user_mode_only() const { return user_mode_only_; }

 private:
  std::uint64_t push_once();
  Fd connect() const;
  void map_memory();
  void register_memory();
  void hand_over(Fd& socket, bool again);
  void watch();
  void reconnect();

  const std::string address_;
  const Options options_;
  std::uint64_t size_ = 0;
  std::uint64_t page_ = 4096;
  Fd memfd_;
  Bytes bytes_;
  Fd uffd_;
  std::string access_;
  bool user_mode_only_ = false;
  std::mutex mutex_;
  Fd socket_;  // guarded by mutex_; replaced when another server takes over
  std::unique_ptr<TaskGroup> watcher_ = std::make_unique<TaskGroup>();
  const pid_t owner_;
};

}  // namespace r3
