// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/decision.hpp"

#include <algorithm>

namespace r3 {

double Decision::expected_downtime(std::uint64_t missing) const {
  const double rest = rate_ > 0 ? static_cast<double>(missing) / rate_ : 0;
  return 2 * round_trip_ + rest;
}

void Decision::pulled_again(std::uint64_t bytes, double now) {
  ++rounds_;
  last_round_ = now;
  no_better_ = bytes < best_ - best_ / 10 ? 0 : no_better_ + 1;
  best_ = std::min(best_, bytes);
}

// What is written until the application stops has to come as well.
Decision::Advice Decision::listen(std::uint64_t written, double now, const Rhythm& rhythm) const {
  if (!rhythm.known() || rate_ <= 0) return Advice::go;
  const double gain = (static_cast<double>(written) + rhythm.rate() * round_trip_) / rate_;
  if (gain < kWorth) return Advice::go;
  if (rhythm.state() == Rhythm::State::busy) return Advice::hold;
  if (last_round_ > rhythm.since()) return Advice::go;
  return rhythm.lasts(now, gain + 2 * round_trip_) >= 0.5 ? Advice::refresh : Advice::hold;
}

Decision::Step Decision::next(std::uint64_t written, double now, const Rhythm& rhythm) {
  if (ready_since_ < 0) ready_since_ = now;
  const bool cheap = expected_downtime(written) <= limits_.max_downtime;
  if (limits_.max_time > 0 && now >= limits_.max_time) return cheap ? Step::move : Step::timeout;
  if (now - ready_since_ < limits_.quiet_wait) {
    const Advice advice = listen(written, now, rhythm);
    if (advice == Advice::hold) return Step::hold;
    if (advice == Advice::refresh) return Step::round;
  }
  if (cheap) return Step::move;
  return limits_.max_time == 0 && no_better_ >= kPatience ? Step::timeout : Step::round;
}

}  // namespace r3
