// SPDX-License-Identifier: Apache-2.0
// Tells the user of a server's trouble once when it begins and once when it is over; of trouble that comes and goes
// (a server that throttles) not more often than once a minute. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "libcommon/base/log.hpp"

namespace r3 {

class Trouble {
 public:
  // A request has to be made again: `why` says of what server, and what it did.
  void met(const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (met_.exchange(true)) return;
    const auto now = Clock::now();
    if (said_ != Clock::time_point{} && now - said_ < kPause) return;
    said_ = now;
    told_ = true;
    log_warning(why + "; trying again");
  }

  // A request of `server` was answered.
  void over(const std::string& server) {
    if (!met_) return;
    const std::lock_guard lock(mutex_);
    met_ = false;
    if (std::exchange(told_, false)) log_warning(server + ": works again");
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::minutes kPause{1};

  std::atomic<bool> met_{false};  // and not over
  std::mutex mutex_;
  Clock::time_point said_{};  // guarded by mutex_
  bool told_ = false;         // guarded by mutex_: its end has to be told, too
};

}  // namespace r3
