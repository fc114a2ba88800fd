// SPDX-License-Identifier: Apache-2.0
// A lock that many share and one takes alone, who waits for those that have it, and not for those that come
// after it, however many they are (a std::shared_mutex would let them go first).
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace r3 {

class FairLock {
 public:
  // While one lives, nobody has it alone.
  class Shared {
   public:
    explicit Shared(FairLock& lock) : lock_(lock.mutex_, std::defer_lock) {
      if (lock.wanted_.load(std::memory_order_relaxed)) {
        const std::lock_guard wait(lock.before_);
      }
      lock_.lock();
    }

   private:
    std::shared_lock<std::shared_mutex> lock_;
  };

  // While one lives, nobody shares it.
  class Alone {
   public:
    explicit Alone(FairLock& lock) : lock_(lock), first_(lock.before_) {
      lock_.wanted_ = true;
      lock_.mutex_.lock();
      lock_.wanted_ = false;
    }
    ~Alone() { lock_.mutex_.unlock(); }
    Alone(const Alone&) = delete;
    Alone& operator=(const Alone&) = delete;

   private:
    FairLock& lock_;
    std::lock_guard<std::mutex> first_;
  };

 private:
  std::shared_mutex mutex_;
  std::mutex before_;
  std::atomic<bool> wanted_{false};
};

}  // namespace r3
