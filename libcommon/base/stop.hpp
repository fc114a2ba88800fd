// SPDX-License-Identifier: Apache-2.0
// A stop that waits can watch: a flag that becomes true once, with a descriptor that becomes readable
// at the same moment, so that every poll() can include it. Any thread may call anything.
#pragma once

#include <atomic>
#include <chrono>

#include "libcommon/base/fd.hpp"

namespace r3 {

class Stop {
 public:
  Stop();

  void request() noexcept;
  bool requested() const { return requested_.load(std::memory_order_acquire); }
  // Readable from request() on; only to be polled.
  int fd() const { return event_.get(); }

  // Waits until requested (true) or the time is over (false).
  bool wait_for(std::chrono::milliseconds time) const;
  void wait() const;

 private:
  Fd event_;
  std::atomic<bool> requested_{false};
};

enum class Wait { ready, stopped, timed_out };

inline constexpr int kForever = -1;

// Waits until `fd` has one of `events` (POLLIN, POLLOUT; errors and hang-ups count as ready), the stop
// is requested, or `timeout_ms` has passed. A request to stop wins over a ready descriptor.
Wait wait_for(int fd, short events, const Stop& stop, int timeout_ms = kForever);

}  // namespace r3
