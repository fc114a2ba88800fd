// SPDX-License-Identifier: Apache-2.0
// Pushes what was changed back to the remote, epoch by epoch: on request, after an interval, and when much
// has been changed. Dirty chunks become long extents, several of them in flight; chunks are clean only
// after the remote's flush. What fails stays dirty, and is tried again. Knows when, not what is dirty.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/cached_chunks.hpp"

namespace r3 {

struct PusherOptions {
  unsigned workers = 32;  // writes in flight at most
  std::chrono::milliseconds interval{5000};  // between pushes of its own accord; 0: none
  std::uint64_t soon = 64 * MiB;             // changed bytes that make it push at once
  std::function<void()> before_seal = {};    // called before each epoch; what it throws ends the epoch
};

class Pusher {
 public:
  Pusher(CachedChunks& chunks, PusherOptions options);

  // What was written before the call is durable on the remote when it returns; throws what the remote said.
  void flush();
  // As soon as possible, without waiting.
  void request();
  // After each change: whether it is time.
  void changed() {
    if (chunks_.map().fresh_count() * chunks_.map().chunk() >= options_.soon) request();
  }
  // Waits until nothing is dirty (true), or the stop is requested; never throws what the remote said.
  bool wait_until_clean(const Stop& stop);
  void abandon() noexcept;

  struct Numbers {
    std::uint64_t epochs = 0, pushed = 0;  // ended; bytes sent
    bool pushing = false;
  };
  Numbers numbers() const;
  std::string last_error() const;

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  void run();
  void wait_for_cause(Lock& lock);
  void push_epoch();
  void send_all();
  void work();
  void send_some(Lock& lock, Bytes memory);
  void ended(std::uint64_t target, std::exception_ptr error);

  CachedChunks& chunks_;
  const PusherOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable cause_;    // for the coordinator
  std::condition_variable changed_;  // for who waits for an epoch
  std::condition_variable work_;     // for the workers
  bool wanted_ = false;              // guarded by mutex_
  bool pushing_ = false;             // guarded by mutex_
  std::uint64_t asked_ = 0;          // guarded by mutex_: flushes, numbered
  std::uint64_t done_ = 0;           // guarded by mutex_: all flushes up to this one have ended
  std::uint64_t failed_ = 0;         // guarded by mutex_: the last flush that failed,
  std::exception_ptr error_;         // guarded by mutex_: and why
  unsigned failures_ = 0;            // guarded by mutex_: in a row
  std::string last_error_;           // guarded by mutex_
  Numbers numbers_;                  // guarded by mutex_

  // Of one pass over what is unsent.
  bool open_ = false;                // guarded by mutex_: there may be more
  std::uint64_t next_ = 0;           // guarded by mutex_: chunk
  unsigned sending_ = 0;             // guarded by mutex_: workers
  unsigned workers_ = 0;             // guarded by mutex_
  unsigned idle_ = 0;                // guarded by mutex_: workers
  std::exception_ptr send_error_;    // guarded by mutex_
  TaskGroup threads_;                // last: its threads use all of the above
};

}  // namespace r3
