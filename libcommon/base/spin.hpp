// SPDX-License-Identifier: Apache-2.0
// A short spin before a wait, as long as it pays. Waking a thread on an idle CPU costs about 50 us, and
// the other side's thread may have to be woken, too: a wait that is longer than that is not worth it.
// For one thread at a time.
#pragma once

#include <algorithm>
#include <chrono>

namespace r3 {

template <class Clock>
class SpinBy {
 public:
  static constexpr std::chrono::microseconds kLongest{100};

  // Before each wait: calls `came` until it returns true or the spin is over; not at all while waits
  // are long. Whether it came.
  template <class Came>
  bool before_wait(Came&& came) {
    waiting_since_ = Clock::now();
    if (!worth_it_) return false;
    while (Clock::now() - waiting_since_ < kLongest) {
      if (!came()) continue;
      patience_ = std::max(patience_ / 2, 1U);
      return true;
    }
    // The other side waits, too, or needs this very CPU. Another try gets rarer each time.
    worth_it_ = false;
    patience_ = std::min(patience_ * 2, kMostPatience);
    return false;
  }

  // After a wait that a spin did not end. The next one is likely to be as long.
  void after_wait() {
    short_waits_ = Clock::now() - waiting_since_ < kLongest ? short_waits_ + 1 : 0;
    if (short_waits_ < patience_) return;
    worth_it_ = true;
    short_waits_ = 0;
  }

 private:
  static constexpr unsigned kMostPatience = 1024;

  bool worth_it_ = false;
  unsigned short_waits_ = 0;  // in a row
  unsigned patience_ = 1;     // how many it takes before a spin is tried again
  typename Clock::time_point waiting_since_;
};

using Spin = SpinBy<std::chrono::steady_clock>;

}  // namespace r3
