// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/workers.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace r3 {

Workers::~Workers() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wanted_.notify_all();
}

bool Workers::start_thread() noexcept {
  try {
    group_.spawn([this] { work(); });
    return true;
  } catch (const std::system_error&) {
    return false;  // the system has no thread to give
  }
}

void Workers::hand_over(std::uint64_t bytes, std::function<void()> job) {
  bytes = std::max(bytes, kLeastHeld);
  {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return held_ == 0 || held_ + bytes <= kMostHeld; });
    if (idle_ <= queue_.size() && threads_ < most_ && start_thread()) ++threads_;
    if (threads_ > 0) {
      held_ += bytes;
      queue_.push_back({bytes, std::move(job)});
      wanted_.notify_one();
      return;
    }
  }
  job();
}

void Workers::finish() {
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return held_ == 0; });
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Workers::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wanted_.wait(lock, [&] { return closing_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      job.run();
    } catch (...) {
      error = std::current_exception();
    }
    job.run = nullptr;
    lock.lock();
    if (!error_) error_ = error;
    held_ -= job.bytes;
    ended_.notify_all();
  }
}

}  // namespace r3
