// SPDX-License-Identifier: Apache-2.0
// How far a transfer is: a bar with rate and time left, on stderr if that is a terminal and -q was not
// given, and {"event":"progress"}; both at most ten times a second. Does not measure anything itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "libcommon/cli/events.hpp"

namespace r3 {

class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  // `label` is what stands before the bar. Borrows `events`.
  Progress(std::string label, std::uint64_t total, Events& events);
  // Sends the last state and takes the bar off the screen.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `done` bytes in all. Any thread may call, as often as it likes.
  void update(std::uint64_t done) noexcept;

 private:
  void show(std::uint64_t done);  // holds mutex_

  const std::string label_;
  const std::uint64_t total_;
  Events& events_;
  const bool on_terminal_;
  const Clock::time_point begun_ = Clock::now();
  std::mutex mutex_;
  std::uint64_t done_ = 0;        // guarded by mutex_
  std::uint64_t told_ = ~0ULL;    // guarded by mutex_: what was shown last
  Clock::time_point next_{};      // guarded by mutex_
};

// The line as it is shown, at most `width` columns: "label [####....]  45%  1.2 GiB  310.0 MiB/s  0:12".
std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total,
                          double seconds, std::size_t width);

}  // namespace r3
