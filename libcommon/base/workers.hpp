// SPDX-License-Identifier: Apache-2.0
// Threads for the requests of one connection or queue that have to wait, started when they are first needed.
// What the waiting requests may hold together is bounded: handing over waits when it is reached, so
// that a client that asks faster than the backend answers slows down only itself.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

#include "libcommon/base/tasks.hpp"

namespace r3 {

class Workers {
 public:
  explicit Workers(unsigned most) : most_(most) {}
  ~Workers();  // finishes what was handed over

  // Runs `job` on some thread; `bytes` is what it holds until it has ended. One thread hands over.
  void hand_over(std::uint64_t bytes, std::function<void()> job);
  // Waits until every job has ended, then throws the first error of one, if any.
  void finish();

 private:
  static constexpr std::uint64_t kMostHeld = 4 << 20;
  static constexpr std::uint64_t kLeastHeld = 4 << 10;  // so that empty ones are bounded, too

  struct Job {
    std::uint64_t bytes;
    std::function<void()> run;
  };
  void work();
  bool start_thread() noexcept;

  const unsigned most_;
  std::mutex mutex_;
  std::condition_variable wanted_;  // a job is queued, or closing_
  std::condition_variable ended_;   // a job has ended
  std::deque<Job> queue_;           // guarded by mutex_
  std::uint64_t held_ = 0;          // guarded by mutex_
  unsigned threads_ = 0;            // guarded by mutex_
  unsigned idle_ = 0;               // guarded by mutex_
  bool closing_ = false;            // guarded by mutex_
  std::exception_ptr error_;        // guarded by mutex_
  TaskGroup group_;
};

}  // namespace r3
