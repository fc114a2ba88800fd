// SPDX-License-Identifier: Apache-2.0
// Says why requests failed: to who asked only a number goes. After one line the next is at least ten seconds later and
// counts those in between. Nothing is said of what the user has asked for (read-only, the end) or done wrong.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/storage/decorator.hpp"

namespace r3 {

class Spoken final : public Decorator {
 public:
  explicit Spoken(std::unique_ptr<Backend> below) : Decorator(*below), owned_(std::move(below)) {}

  void read_at(Bytes into, std::uint64_t offset) override {
    say([&] { below_.read_at(into, offset); });
  }
  void read_background(Bytes into, std::uint64_t offset) override {
    say([&] { below_.read_background(into, offset); });
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    say([&] { below_.write_at(from, offset); });
  }
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) override {
    say([&] { below_.zero_at(offset, length, how); });
  }
  void discard_at(std::uint64_t offset, std::uint64_t length) override {
    say([&] { below_.discard_at(offset, length); });
  }
  void flush() override {
    say([&] { below_.flush(); });
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPause{10};

  template <class Action>
  void say(Action action) {
    try {
      action();
    } catch (...) {
      failed();
      throw;
    }
  }

  // Inside a catch block.
  void failed() {
    const int error = errno_of_current_exception();
    if (error == ESHUTDOWN || error == EPERM || error == EINVAL || error == EOPNOTSUPP) return;
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (said_ != Clock::time_point{} && now - said_ < kPause) {
      ++unsaid_;
      return;
    }
    log_warning(text_of_current_exception() +
                (unsaid_ > 0 ? " (and " + std::to_string(unsaid_) + " other failures since the last such line)" : ""));
    said_ = now;
    unsaid_ = 0;
  }

  const std::unique_ptr<Backend> owned_;
  std::mutex mutex_;
  Clock::time_point said_{};   // guarded by mutex_
  std::uint64_t unsaid_ = 0;   // guarded by mutex_
};

}  // namespace r3
