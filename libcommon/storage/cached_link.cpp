// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_link.hpp"

#include <algorithm>

#include "libcommon/base/bytes.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kLeastWindow = 1 * MiB;
constexpr std::uint64_t kMostWindow = 64 * MiB;
constexpr std::uint64_t kLeastRequest = 64 * KiB;
constexpr std::uint64_t kMostRequest = 1 * MiB;
constexpr std::chrono::seconds kForget{10};      // the shortest time of that long ago
constexpr std::chrono::milliseconds kInterval{250};

}  // namespace

LinkMeter::Request LinkMeter::send(std::uint64_t bytes, Clock::time_point now) {
  in_flight_ += bytes;
  const double best = rate();
  const Seconds wait = best > 0 ? Seconds(static_cast<double>(in_flight_) / best) : Seconds(0);
  return {bytes, answered_, now,
          now + std::chrono::duration_cast<Clock::duration>(shortest_ + wait)};
}

void LinkMeter::answer(const Request& request, Clock::time_point now) {
  in_flight_ -= request.bytes;
  answered_ += request.bytes;
  const Seconds took = now - request.sent;
  measured(took, now);
  if (took.count() <= 0) return;
  turn_over(now);
  auto& best = rates_[interval_];
  best = std::max(best, static_cast<double>(answered_ - request.answered_before) / took.count());
}

void LinkMeter::measured(Seconds round_trip, Clock::time_point now) {
  if (now >= shortest_until_) {
    shortest_ = shortest_next_;
    shortest_next_ = Seconds(0);
    shortest_until_ = now + kForget;
  }
  for (Seconds* shortest : {&shortest_, &shortest_next_})
    if (shortest->count() == 0 || round_trip < *shortest) *shortest = round_trip;
}

void LinkMeter::turn_over(Clock::time_point now) {
  if (now < interval_end_) return;
  // Nothing is forgotten while nothing is measured.
  interval_ = (interval_ + 1) % kIntervals;
  rates_[interval_] = 0;
  interval_end_ = now + std::max<Clock::duration>(
                            kInterval, std::chrono::duration_cast<Clock::duration>(2 * shortest_));
}

double LinkMeter::rate() const { return *std::max_element(rates_.begin(), rates_.end()); }

// Twice what the link holds: while the window grows, so does the rate that is measured, until the link
// is full.
std::uint64_t LinkMeter::window() const {
  const auto holds = static_cast<std::uint64_t>(2 * rate() * shortest_.count());
  return std::clamp(holds, kLeastWindow, kMostWindow);
}

std::uint64_t LinkMeter::request_size() const {
  return std::clamp(round_down(window() / 4, kLeastRequest), kLeastRequest, kMostRequest);
}

}  // namespace r3
