// SPDX-License-Identifier: Apache-2.0
// When to move (--finalize auto): from how much each round had to pull again, how fast the link is and what
// the user allows. Pure: it is told numbers and times, and asks nobody.
#pragma once

#include <chrono>
#include <cstdint>

namespace r3 {

struct DecisionLimits {
  double max_downtime = 0.3;  // seconds
  double max_time = 0;        // seconds; 0: as long as it gets better
};

class Decision {
 public:
  explicit Decision(DecisionLimits limits) : limits_(limits) {}

  enum class Step { round, move, timeout };
  // All is here but `written` bytes, which were written since the last round. `elapsed`: seconds since the
  // start.
  Step next(std::uint64_t written, double elapsed);
  // The last round had to pull so much, in so many seconds.
  void pulled_again(std::uint64_t bytes, double seconds);

  // What moving now would cost, with `written` bytes to come: two round trips, and the rest at the link's
  // rate.
  double expected_downtime(std::uint64_t written) const;
  void link(double bytes_per_second, double round_trip) { rate_ = bytes_per_second; round_trip_ = round_trip; }
  unsigned rounds() const { return rounds_; }
  double dirty_rate() const { return dirty_rate_; }  // bytes a second, in the last round

 private:
  static constexpr unsigned kPatience = 4;  // rounds in a row that were no better than those before

  const DecisionLimits limits_;
  double rate_ = 0, round_trip_ = 0, dirty_rate_ = 0;
  std::uint64_t best_ = ~0ULL;
  unsigned rounds_ = 0, no_better_ = 0;
};

}  // namespace r3
