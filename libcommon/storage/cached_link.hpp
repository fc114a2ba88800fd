// SPDX-License-Identifier: Apache-2.0
// How much to keep in flight on a link: enough that it is never idle, little more. From the rate at which
// requests are answered and the shortest time that one took, as BBR does (Cardwell et al., "BBR:
// Congestion-Based Congestion Control", 2016), with requests instead of packets. Knows times, not bytes'
// places; the clock is the caller's, so that tests need none. Not locked.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

namespace r3 {

class LinkMeter {
 public:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  struct Request {
    std::uint64_t bytes = 0;
    std::uint64_t answered_before = 0;  // bytes that had been answered when it was sent
    Clock::time_point sent{};
    Clock::time_point expected{};  // when its answer should be here
  };

  Request send(std::uint64_t bytes, Clock::time_point now);
  void answer(const Request& request, Clock::time_point now);
  // It failed: no measurement.
  void forget(const Request& request) { in_flight_ -= request.bytes; }
  // A short, urgent request took so long: it did not wait behind others.
  void measured(Seconds round_trip, Clock::time_point now);

  std::uint64_t in_flight() const { return in_flight_; }
  std::uint64_t window() const;        // bytes to keep in flight
  std::uint64_t request_size() const;  // to ask for at once
  double rate() const;                 // bytes a second, the best of late
  Seconds round_trip() const { return shortest_; }

 private:
  // The best rate of each of the last intervals.
  static constexpr std::size_t kIntervals = 8;
  void turn_over(Clock::time_point now);

  std::uint64_t in_flight_ = 0;
  std::uint64_t answered_ = 0;
  Seconds shortest_{0};  // 0: not known
  Seconds shortest_next_{0};
  Clock::time_point shortest_until_{};
  std::array<double, kIntervals> rates_{};
  std::size_t interval_ = 0;
  Clock::time_point interval_end_{};
};

}  // namespace r3
