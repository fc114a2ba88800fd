// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_link.hpp"

#include <algorithm>

#include "libcommon/base/bytes.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kFirstWindow = 1 * MiB;
constexpr std::uint64_t kLeastWindow = 256 * KiB;
constexpr LinkMeter::Seconds kLeastHeld{0.003};  // of the rate: what waking threads take
constexpr std::uint64_t kMostWindow = 64 * MiB;
constexpr std::uint64_t kLeastRequest = 64 * KiB;
constexpr std::uint64_t kMostRequest = 1 * MiB;
constexpr std::chrono::seconds kForget{10};      // the shortest time of that long ago
constexpr std::chrono::milliseconds kLeastRound{50};
constexpr std::chrono::milliseconds kMostDraining{200};
constexpr double kFill = 2;            // while the rate still grows with what is in flight
constexpr double kGrown = 1.25;        // what counts as growing, from one round to the next
constexpr std::uint64_t kRequests = 14;  // at once, at most
// Then. A request counts until its last byte is here, which is a part more than the link holds; what is above lets
// us notice that the link can do more.
constexpr double kFull = 1.1;
constexpr double kDrain = 0.85;        // and less: nothing waits any more, and little when it goes on

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
  // Quick to grow, but too high when answers that had to wait come in a lump.
  if (filling_)
    filling_rate_ = std::max(filling_rate_,
                             static_cast<double>(answered_ - request.answered_before) / took.count());
  if (now >= round_end_) end_round(now);
}

void LinkMeter::begin_round(Clock::time_point now) {
  round_begin_ = now;
  round_end_ = now + std::max<Clock::duration>(
                         kLeastRound, std::chrono::duration_cast<Clock::duration>(2 * shortest_));
  answered_at_begin_ = answered_;
}

// Nothing is forgotten while nothing is measured.
void LinkMeter::end_round(Clock::time_point now) {
  if (round_end_ != Clock::time_point{}) {
    const double rate = static_cast<double>(answered_ - answered_at_begin_) / Seconds(now - round_begin_).count();
    round_ = (round_ + 1) % kRounds;
    rates_[round_] = rate;
    filling_ = filling_ && rate >= kGrown * full_rate_;
    full_rate_ = std::max(full_rate_, rate);
  }
  begin_round(now);
}

void LinkMeter::measured(Seconds round_trip, Clock::time_point now) {
  if (now >= shortest_until_) {
    shortest_ = shortest_next_;
    shortest_next_ = Seconds(0);
    shortest_until_ = now + kForget;
  }
  const auto drain = std::min<Clock::duration>(
      kMostDraining, std::chrono::duration_cast<Clock::duration>(3 * shortest_));
  draining_ = now >= shortest_until_ - drain;
  for (Seconds* shortest : {&shortest_, &shortest_next_})
    if (shortest->count() == 0 || round_trip < *shortest) *shortest = round_trip;
}

double LinkMeter::rate() const {
  return filling_ ? filling_rate_ : *std::max_element(rates_.begin(), rates_.end());
}

double LinkMeter::holds() const { return rate() * shortest_.count(); }

// What is more than the link holds waits in a queue on the way, and so does everything that is urgent.
std::uint64_t LinkMeter::window() const {
  if (rate() == 0) return kFirstWindow;
  const auto least = std::clamp(static_cast<std::uint64_t>(rate() * kLeastHeld.count()), kLeastWindow,
                                kFirstWindow);
  const double gain = filling_ ? kFill : draining_ ? kDrain : kFull;
  return std::clamp(static_cast<std::uint64_t>(gain * holds()), least, kMostWindow);
}

std::uint64_t LinkMeter::request_size() const {
  return std::clamp(round_up(window() / kRequests, kLeastRequest), kLeastRequest, kMostRequest);
}

}  // namespace r3
