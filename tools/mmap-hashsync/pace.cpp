// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/pace.hpp"

#include <time.h>

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::sync {

namespace {

constexpr std::chrono::milliseconds kShortest{20};
constexpr std::chrono::milliseconds kLongest{2000};
constexpr std::chrono::milliseconds kBurst{50};  // sent at once after a pause

}  // namespace

Bandwidth::Bandwidth(std::uint64_t bytes_a_second, const Stop& stop)
    : rate_(static_cast<double>(bytes_a_second)), stop_(stop) {}

void Bandwidth::spend(std::size_t bytes) {
  Clock::time_point from;
  {
    std::lock_guard lock(mutex_);
    free_from_ = std::max(free_from_, Clock::now() - kBurst);
    from = free_from_;
    free_from_ += std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(static_cast<double>(bytes) / rate_));
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(from - Clock::now());
  if (wait.count() > 0 && stop_.wait_for(wait)) fail(ECANCELED, "stopped while waiting for --bwlimit");
}

std::chrono::milliseconds Pace::after_round(bool changed, Seconds wall, Seconds cpu) {
  using std::chrono::milliseconds;
  if (interval_.count() > 0) current_ = interval_;
  else current_ = std::clamp(changed ? current_ / 2 : current_ * 2, kShortest, kLongest);
  const auto took = std::chrono::duration_cast<milliseconds>(wall);
  auto wait = std::max(milliseconds(1), interval_.count() > 0 ? current_ - took : current_);
  if (most_cpu_ > 0) {
    const Seconds least = cpu * (100.0 / most_cpu_) - wall;
    wait = std::max(wait, std::chrono::ceil<milliseconds>(least));
  }
  return wait;
}

Pace::Seconds process_cpu_time() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return Pace::Seconds(static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec));
}

}  // namespace r3::sync
