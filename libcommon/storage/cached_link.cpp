// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_link.hpp"

#include <algorithm>
#include <utility>

#include "libcommon/base/bytes.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kFirstWindow = 512 * KiB;
constexpr std::uint64_t kLeastWindow = 64 * KiB;
constexpr std::uint64_t kMostWindow = 64 * MiB;
constexpr std::uint64_t kLeastRequest = 16 * KiB;
constexpr std::uint64_t kMostRequest = 1 * MiB;
constexpr std::uint64_t kRequests = 14;  // at once, at most
constexpr LinkMeter::Seconds kLeastAtOnce{0.0005};  // of the rate, in one request
constexpr std::chrono::seconds kForget{10};      // the shortest time of that long ago
constexpr std::chrono::milliseconds kLeastRound{50};
constexpr std::chrono::milliseconds kMostDraining{200};
constexpr LinkMeter::Seconds kLeastBurst{0.001};  // shorter ones say nothing
constexpr double kFill = 2;      // while the rate still grows with what is in flight
constexpr double kGrown = 1.25;  // what counts as growing, from one round to the next
// Settling, so much more than the first answers' rate would fill; and what counts as more than that rate.
constexpr double kDoubt = 0.05;
constexpr double kMore = 1.03;
// Then: what may wait in the link's queue, so that it never runs dry and we notice that it can do more: what waking
// threads take at its rate, and a part of what it holds.
constexpr LinkMeter::Seconds kSlack{0.0015};
constexpr double kSlackPart = 0.02;
// When so little of that waited in as many rounds, the link is far from full: filling again.
constexpr double kNoQueue = 0.3;
constexpr unsigned kFreeRounds = 3;
// Requests are sent no faster than that many times the rate, but for what a late thread may make up for.
constexpr double kPace = 1.25;
constexpr double kFirstPace = 1;
constexpr std::chrono::milliseconds kLate{1};
constexpr double kDrain = 0.85;        // and less: nothing waits any more, and little when it goes on

}  // namespace

LinkMeter::Request LinkMeter::send(std::uint64_t bytes, Clock::time_point now) {
  in_flight_ += bytes;
  const double best = rate();
  if (phase_ != Phase::filling && best > 0) {
    const double pace = best * (phase_ == Phase::settling ? kFirstPace : kPace);
    next_send_ = std::max(next_send_, now - kLate) +
                 std::chrono::duration_cast<Clock::duration>(Seconds(static_cast<double>(bytes) / pace));
  }
  const Seconds full = best > 0 ? Seconds(static_cast<double>(in_flight_) / best) : Seconds(0);
  return {bytes, answered_, now,
          now + std::chrono::duration_cast<Clock::duration>(std::max(shortest_.time, full))};
}

void LinkMeter::answer(const Request& request, Clock::time_point now) {
  in_flight_ -= request.bytes;
  answered_ += request.bytes;
  const Seconds took = now - request.sent;
  measured(took, request.bytes, now);
  if (took.count() <= 0) return;
  if (round_shortest_.count() == 0 || took < round_shortest_) round_shortest_ = took;
  // Quick to grow, but too high when answers that had to wait come in a lump.
  if (phase_ == Phase::filling)
    filling_rate_ = std::max(filling_rate_,
                             static_cast<double>(answered_ - request.answered_before) / took.count());
  if (burst_before_ == 0 || request.answered_before == 0) weigh_burst(request, now);
  if (now >= round_end_) end_round(now);
}

// The requests of the first window are sent at once, so their answers leave the link as fast as it can.
void LinkMeter::weigh_burst(const Request& request, Clock::time_point now) {
  if (burst_before_ == 0) {
    burst_begin_ = now;
    burst_before_ = answered_;
    return;
  }
  const Seconds span = now - burst_begin_;
  if (phase_ != Phase::filling || answered_ + request.bytes <= kFirstWindow || span < kLeastBurst) return;
  burst_rate_ = static_cast<double>(answered_ - burst_before_) / span.count();
  phase_ = Phase::settling;
  rounds_ = 0;
  begin_round(now);
}

void LinkMeter::begin_round(Clock::time_point now) {
  round_begin_ = now;
  round_end_ = now + std::max<Clock::duration>(
                         kLeastRound, std::chrono::duration_cast<Clock::duration>(2 * shortest_.time));
  answered_at_begin_ = answered_;
  round_shortest_ = Seconds(0);
}

// Nothing is forgotten while nothing is measured.
void LinkMeter::end_round(Clock::time_point now) {
  if (round_end_ != Clock::time_point{}) {
    const double rate = static_cast<double>(answered_ - answered_at_begin_) / Seconds(now - round_begin_).count();
    round_ = (round_ + 1) % kRounds;
    rates_[round_] = rate;
    judge(rate);
    full_rate_ = std::max(full_rate_, rate);
  }
  begin_round(now);
}

void LinkMeter::judge(double rate) {
  ++rounds_;
  if (phase_ == Phase::filling && rate < kGrown * full_rate_) phase_ = Phase::full;
  if (phase_ == Phase::full) look_for_room(rate);
  if (phase_ != Phase::settling || rounds_ < 2) return;  // the first one began with less in flight
  phase_ = rate > kMore * burst_rate_ ? Phase::filling : Phase::full;
  burst_rate_ = 0;
}

void LinkMeter::look_for_room(double rate) {
  const bool waited = draining_ || round_shortest_ > shortest_.time + kSlack * kNoQueue;
  free_rounds_ = waited ? 0 : free_rounds_ + 1;
  if (free_rounds_ < kFreeRounds) return;
  free_rounds_ = 0;
  phase_ = Phase::filling;
  filling_rate_ = full_rate_ = rate;
}

void LinkMeter::measured(Seconds round_trip, std::uint64_t bytes, Clock::time_point now) {
  if (now >= shortest_until_) {
    shortest_ = std::exchange(shortest_next_, {});
    shortest_until_ = now + kForget;
  }
  const auto drain = std::min<Clock::duration>(
      kMostDraining, std::chrono::duration_cast<Clock::duration>(3 * shortest_.time));
  draining_ = now >= shortest_until_ - drain;
  for (Shortest* shortest : {&shortest_, &shortest_next_})
    if (shortest->time.count() == 0 || round_trip < shortest->time) *shortest = {round_trip, bytes};
}

double LinkMeter::rate() const {
  if (phase_ == Phase::filling) return filling_rate_;
  return std::max(burst_rate_, *std::max_element(rates_.begin(), rates_.end()));
}

// A request counts until its last byte is here, the shortest one's bytes are in its time.
double LinkMeter::holds() const {
  const double bytes = rate() * shortest_.time.count();
  return bytes + std::max(0.0, bytes / kRequests - static_cast<double>(shortest_.bytes));
}

// What is more than the link holds waits in a queue on the way, and so does everything that is urgent.
std::uint64_t LinkMeter::window() const {
  if (rate() == 0) return kFirstWindow;
  const double slack = std::max(rate() * kSlack.count(),
                                holds() * (phase_ == Phase::settling ? kDoubt : kSlackPart));
  const double bytes = phase_ == Phase::filling ? kFill * holds() : draining_ ? kDrain * holds() : holds() + slack;
  return std::clamp(static_cast<std::uint64_t>(bytes), kLeastWindow, kMostWindow);
}

std::uint64_t LinkMeter::request_size() const {
  const auto least = static_cast<std::uint64_t>(rate() * kLeastAtOnce.count());
  return std::clamp(round_up(std::max(window() / kRequests, least), kLeastRequest), kLeastRequest, kMostRequest);
}

}  // namespace r3
