// SPDX-License-Identifier: Apache-2.0
// How fast: bytes a second on the wire (--bwlimit), and how long to wait between two looks at the files
// (--interval, --max-cpu). Knows clocks only.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "libcommon/base/stop.hpp"

namespace r3::sync {

// Any thread may spend; several links may share one.
class Bandwidth {
 public:
  Bandwidth(std::uint64_t bytes_a_second, const Stop& stop);

  // Waits until so many bytes may go. Throws ECANCELED when the stop is requested.
  void spend(std::size_t bytes);
  double rate() const { return rate_; }

 private:
  using Clock = std::chrono::steady_clock;
  const double rate_;
  const Stop& stop_;
  std::mutex mutex_;
  Clock::time_point free_from_ = Clock::now();  // guarded by mutex_
};

// The time between rounds: fixed, or shorter while files change and longer while they do not; never so short
// that looking takes more than its share of a processor.
class Pace {
 public:
  using Seconds = std::chrono::duration<double>;

  // `interval` 0: adaptive. `most_cpu` in percent of one processor; 0: no limit.
  Pace(std::chrono::milliseconds interval, unsigned most_cpu) : interval_(interval), most_cpu_(most_cpu) {}

  // How long to wait after a round that took `wall`, and `cpu` of processors' time.
  std::chrono::milliseconds after_round(bool changed, Seconds wall, Seconds cpu);

 private:
  const std::chrono::milliseconds interval_;
  const unsigned most_cpu_;
  std::chrono::milliseconds current_{100};
};

// The processors' time of this process so far.
Pace::Seconds process_cpu_time();

}  // namespace r3::sync
