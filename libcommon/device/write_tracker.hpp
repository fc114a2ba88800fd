// SPDX-License-Identifier: Apache-2.0
// Finds the pages that a process has written to, and brings their bytes back to the region. The kernel
// marks them: by itself where it can (asynchronous write protection and PAGEMAP_SCAN, Linux 6.7), else
// each first write is a fault that written() answers. What could not be pushed is kept for the next time.
//
// Each page is pushed as it was at one moment. For pages that are written to all the time the process is
// stopped while they are copied (still.hpp), microseconds; without asynchronous tracking only who
// writes there waits.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "libcommon/device/client_memory.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class WriteTracker {
 public:
  // `region` is borrowed; `on_pushed` is told what has been written there. Throws if the memory of the
  // process cannot be looked at.
  WriteTracker(Backend& region, std::shared_ptr<ClientMemory> memory, pid_t process,
               std::function<void(std::uint64_t offset, std::uint64_t length)> on_pushed);

  // Everything that was written before the call is in the region, and flushed, when it returns; the
  // bytes that were pushed. If a page that is written to all the time cannot be copied, because its process
  // is being debugged, the rest is pushed, then it throws. One push at a time, others wait. Any thread.
  std::uint64_t push();
  // A write fault (synchronous tracking only): lets the writer go on, unless its page is just being read.
  // False if the process's messages have to be read first.
  bool written(std::uint64_t address);

  bool asynchronous() const { return pagemap_.valid(); }
  // How often the process had to be stopped.
  std::uint64_t stops() const { return stops_; }

 private:
  struct Dirty {
    UffdLayout::Place place;
    std::uint64_t pages = 0;
  };
  using Addresses = std::set<std::uint64_t>;

  void find(std::vector<Dirty>& dirty);
  void scan(std::uint64_t from, std::uint64_t to, const std::function<void(std::uint64_t, std::uint64_t)>& found);
  void add(std::vector<Dirty>& dirty, std::uint64_t from, std::uint64_t to);
  void take_faulted(std::vector<Dirty>& dirty);
  std::uint64_t push_removed();
  std::uint64_t push_dirty(std::vector<Dirty>& dirty, std::exception_ptr& busy);
  std::uint64_t push_piece(std::uint64_t address, std::uint64_t length);
  void read_still(std::uint64_t address, Bytes into, std::uint64_t page);
  bool read_changed(std::uint64_t address, Bytes into);
  void read_or_throw(std::uint64_t address, Bytes into);
  bool read(std::uint64_t address, Bytes into);
  void hold(std::uint64_t address, std::uint64_t length, std::uint64_t page);
  void let_go(std::uint64_t page);
  Uffd::Filled::End set_protection(std::uint64_t address, std::uint64_t length, bool on);

  Backend& region_;
  const std::shared_ptr<ClientMemory> memory_;
  const pid_t process_;
  const std::function<void(std::uint64_t, std::uint64_t)> on_pushed_;
  std::atomic<std::uint64_t> stops_{0};
  Fd pagemap_;  // asynchronous tracking
  std::mutex pushing_;
  std::vector<Dirty> kept_;  // from a push that failed; guarded by pushing_
  bool unflushed_ = false;   // guarded by pushing_
  Mapping buffer_;           // guarded by pushing_
  std::mutex mutex_;
  Addresses written_;             // pages that faulted; guarded by mutex_
  std::uint64_t held_from_ = 0;   // writers to these addresses wait until they have been read;
  std::uint64_t held_to_ = 0;     // guarded by mutex_
  Addresses waiting_;             // pages whose writers wait; guarded by mutex_
};

}  // namespace r3
