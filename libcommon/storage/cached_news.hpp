// SPDX-License-Identifier: Apache-2.0
// What becomes of the epochs of a managed mount, for the writes that wait for its pusher. Any thread may call.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "libcommon/base/error.hpp"

namespace r3 {

class EpochNews {
 public:
  // Some of the epoch was taken to be sent.
  void taken() noexcept {
    const std::lock_guard lock(mutex_);
    ++taken_;
    changed_.notify_all();
  }
  void ended() noexcept {
    const std::lock_guard lock(mutex_);
    ++epochs_;
    changed_.notify_all();
  }
  // The pusher does not get on, for good or for now (an errno); 0: it does.
  void set_error(int error) noexcept {
    const std::lock_guard lock(mutex_);
    error_ = error;
    changed_.notify_all();
  }
  // From now on all below throw ESHUTDOWN.
  void abandon() noexcept {
    const std::lock_guard lock(mutex_);
    abandoned_ = true;
    changed_.notify_all();
  }

  // How many have ended. Throws the pusher's error: nothing is worth waiting for.
  std::uint64_t epochs() const {
    const std::lock_guard lock(mutex_);
    throw_if_abandoned();
    if (error_ != 0) fail(error_, "the cache is full, and nothing can be pushed");
    return epochs_;
  }
  // Until more than `before` have ended, or so long.
  void wait_for_end(std::uint64_t before, std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, most, [&] { return epochs_ != before || abandoned_; });
    throw_if_abandoned();
  }
  // Until some is taken from now on, or so long; whether it was.
  bool wait_for_taken(std::chrono::milliseconds most) {
    std::unique_lock lock(mutex_);
    const auto before = taken_;
    changed_.wait_for(lock, most, [&] { return taken_ != before || abandoned_; });
    throw_if_abandoned();
    return taken_ != before;
  }

 private:
  void throw_if_abandoned() const {
    if (abandoned_) fail(ESHUTDOWN, "the mount is ending");
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t epochs_ = 0;  // all guarded by mutex_
  std::uint64_t taken_ = 0;
  int error_ = 0;
  bool abandoned_ = false;
};

}  // namespace r3
