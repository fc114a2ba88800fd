// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/bell.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

namespace r3 {

namespace {

// Of CLOCK_MONOTONIC, which is what steady_clock counts.
timespec time_of(std::chrono::steady_clock::time_point point) {
  const auto since = point.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  return {static_cast<time_t>(seconds.count()),
          static_cast<long>(std::chrono::nanoseconds(since - seconds).count())};
}

}  // namespace

bool Bell::wait(std::uint32_t rings, Deadline deadline) const noexcept {
  const timespec until = deadline ? time_of(*deadline) : timespec{};
  const long result = ::syscall(SYS_futex, &rings_, FUTEX_WAIT_BITSET_PRIVATE, rings,
                                deadline ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  return result == 0 || errno != ETIMEDOUT;
}

void Bell::ring() noexcept {
  rings_.fetch_add(1, std::memory_order_release);
  ::syscall(SYS_futex, &rings_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace r3
