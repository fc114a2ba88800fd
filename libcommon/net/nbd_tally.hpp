// SPDX-License-Identifier: Apache-2.0
// What the connections of a server have done, and what went wrong in the regions. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace r3::nbd::server {

struct Tally {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> bytes_written{0};

  // In a catch block: a warning that a client's `command` failed, and why. Clients cannot flood it: after
  // one, the next is at least ten seconds later and counts those in between.
  void failed(const char* command, std::uint64_t offset) noexcept;

 private:
  std::mutex mutex_;
  std::chrono::steady_clock::time_point said_;  // guarded by mutex_
  std::uint64_t unsaid_ = 0;                    // guarded by mutex_
  bool any_ = false;                            // guarded by mutex_
};

}  // namespace r3::nbd::server
