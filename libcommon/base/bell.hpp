// SPDX-License-Identifier: Apache-2.0
// Wakes threads that wait for something to change: cheaper than a condition variable, because who is
// woken takes no lock and who rings need hold none. It only says "look again": what has changed is
// kept elsewhere, in atomics or under a lock.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace r3 {

class Bell {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: for ever

  // Look at this first, then at what is waited for, then wait(): no ring in between is missed.
  std::uint32_t rings() const noexcept { return rings_.load(std::memory_order_acquire); }
  // Waits until there were more than `rings`; false when the deadline has passed. May return early.
  bool wait(std::uint32_t rings, Deadline deadline = {}) const noexcept;
  void ring() noexcept;

 private:
  std::atomic<std::uint32_t> rings_{0};
};

}  // namespace r3
