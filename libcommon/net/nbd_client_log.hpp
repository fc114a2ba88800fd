// SPDX-License-Identifier: Apache-2.0
// What an NBD server has acknowledged but not yet flushed: if it crashes, it may lose just that, and
// the client writes it again, in order, when it is back. Knows what has to be repeated, not how.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/net/nbd_client_call.hpp"

namespace r3::nbd {

struct Change {
  Command command = kWrite;
  std::uint16_t flags = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::unique_ptr<std::byte[]> bytes;  // of a write
  std::size_t room = 0;                // how many fit there
  bool lent = false;                   // the log's, under its mutex: begin() gave it away

  ConstBytes payload() const { return {bytes.get(), bytes ? length : 0}; }
};

class ReplayLog {
 public:
  // Adds what the server has acknowledged in the session numbered `session`. False if a later session
  // has begun: it may have gone without that change, which therefore has to be made again.
  bool add(std::uint64_t session, const Call& call);
  // A session begins: all that it has to repeat first, oldest first.
  std::vector<std::shared_ptr<const Change>> begin(std::uint64_t session);

  // All that was added before mark() is durable: drop(that mark).
  std::uint64_t mark() const;
  void drop(std::uint64_t mark);

  // Memory that the changes take, about.
  std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  void keep(Change& change, ConstBytes bytes);
  void spare(Change& change);

  mutable std::mutex mutex_;  // guards all below
  std::deque<std::shared_ptr<Change>> changes_;
  // Long memory of dropped changes: new memory costs a page fault for each page, more than the copy.
  struct Spare {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t room;
  };
  std::vector<Spare> spares_;
  std::uint64_t spare_bytes_ = 0;
  std::uint64_t dropped_ = 0;  // how many stood before the first
  std::uint64_t session_ = 0;
  std::atomic<std::uint64_t> bytes_{0};  // written under the mutex
};

// Ranges that are being changed. Of two changes that overlap, one waits for the other: otherwise nobody
// would know in which order the server made them, and which one has to be repeated last.
class ChangeOrder {
 public:
  class Turn {
   public:
    Turn(ChangeOrder& order, std::uint64_t offset, std::uint64_t length);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    friend class ChangeOrder;
    ChangeOrder& order_;
    const std::uint64_t offset_;
    const std::uint64_t end_;
  };

 private:
  std::mutex mutex_;
  std::vector<const Turn*> turns_;  // guarded by mutex_
  unsigned waiting_ = 0;            // guarded by mutex_
  std::condition_variable ended_;
};

}  // namespace r3::nbd
