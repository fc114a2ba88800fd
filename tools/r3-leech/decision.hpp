// SPDX-License-Identifier: Apache-2.0
// When to move (--finalize auto): from how much each round had to pull again, how fast the link is, in which rhythm
// the application writes and what the user allows. Pure: it is told numbers and times, and asks nobody.
#pragma once

#include <chrono>
#include <cstdint>

#include "tools/r3-leech/rhythm.hpp"

namespace r3 {

struct DecisionLimits {
  double max_downtime = 0.3;  // seconds
  double max_time = 0;        // seconds; 0: as long as it gets better
  double quiet_wait = 5;      // seconds, at most, for a quiet phase; 0: not at all
};

class Decision {
 public:
  explicit Decision(DecisionLimits limits) : limits_(limits) {}

  enum class Step { round, hold, move, timeout };
  // All is here but `written` bytes, which were written since the last round. `now`: seconds since the start.
  Step next(std::uint64_t written, double now, const Rhythm& rhythm);
  // The last round, which ended `now`, had to pull so much.
  void pulled_again(std::uint64_t bytes, double now);

  // What moving now would cost, in seconds, with so many bytes to come: two round trips, and these at the link's
  // rate.
  double expected_downtime(std::uint64_t missing) const;
  void link(double bytes_per_second, double round_trip) { rate_ = bytes_per_second; round_trip_ = round_trip; }
  unsigned rounds() const { return rounds_; }

 private:
  static constexpr unsigned kPatience = 4;  // rounds in a row that were no better than those before
  static constexpr double kWorth = 0.005;   // seconds of downtime that are worth waiting for

  enum class Advice { go, hold, refresh };
  Advice listen(std::uint64_t written, double now, const Rhythm& rhythm) const;

  const DecisionLimits limits_;
  double rate_ = 0, round_trip_ = 0;
  double ready_since_ = -1, last_round_ = -1;  // when
  std::uint64_t best_ = ~0ULL;
  unsigned rounds_ = 0, no_better_ = 0;
};

}  // namespace r3
