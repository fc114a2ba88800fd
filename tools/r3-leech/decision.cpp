// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/decision.hpp"

#include <algorithm>

namespace r3 {

double Decision::expected_downtime(std::uint64_t written) const {
  const double rest = rate_ > 0 ? static_cast<double>(written) / rate_ : 0;
  return 2 * round_trip_ + rest;
}

void Decision::pulled_again(std::uint64_t bytes, double seconds) {
  ++rounds_;
  dirty_rate_ = seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
  no_better_ = bytes < best_ - best_ / 10 ? 0 : no_better_ + 1;
  best_ = std::min(best_, bytes);
}

Decision::Step Decision::next(std::uint64_t written, double elapsed) {
  if (expected_downtime(written) <= limits_.max_downtime) return Step::move;
  if (limits_.max_time > 0 && elapsed >= limits_.max_time) return Step::timeout;
  if (limits_.max_time == 0 && no_better_ >= kPatience) return Step::timeout;
  return Step::round;
}

}  // namespace r3
