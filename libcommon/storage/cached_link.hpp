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
  // What the link has carried since the start beside what was answered here: the rate is of all.
  void beside(std::uint64_t bytes) {
    answered_ += bytes - beside_;
    beside_ = bytes;
  }
  // It failed: no measurement.
  void forget(const Request& request) { in_flight_ -= request.bytes; }

  std::uint64_t in_flight() const { return in_flight_; }
  std::uint64_t window() const;        // one more request as long as fewer bytes are in flight
  std::uint64_t request_size() const;  // to ask for at once
  // Not before that time: a window that opens at once would wait in the link's queue.
  Clock::time_point next_send() const { return next_send_; }
  double rate() const;                 // bytes a second, the best of late
  Seconds round_trip() const { return shortest_.time; }

 private:
  // Filling: what is in flight doubles until that brings no higher rate. Settling: the first answers came one after
  // the other at some rate; is that the link's? Then full.
  enum class Phase { filling, settling, full };
  struct Shortest {
    Seconds time{0};  // 0: not known
    std::uint64_t bytes = 0;
  };
  static constexpr std::size_t kRounds = 32;
  void measured(Seconds round_trip, std::uint64_t bytes, Clock::time_point now);
  void weigh_burst(const Request& request, Clock::time_point now);
  void begin_round(Clock::time_point now);
  void end_round(Clock::time_point now);
  void judge(double rate);
  void look_for_room(double rate);
  double holds() const;  // bytes that are under way while a request waits for its first byte

  std::uint64_t in_flight_ = 0;
  std::uint64_t answered_ = 0;  // and carried beside
  std::uint64_t beside_ = 0;
  Shortest shortest_, shortest_next_;
  Clock::time_point shortest_until_{};
  Clock::time_point burst_begin_{};  // the first answer
  std::uint64_t burst_before_ = 0;   // bytes answered then
  double burst_rate_ = 0;            // of the answers of the first window; 0: not known, or no longer believed
  Clock::time_point next_send_{};
  Clock::time_point round_begin_{}, round_end_{};
  std::uint64_t answered_at_begin_ = 0;
  std::array<double, kRounds> rates_{};  // of the last rounds, from begin to end
  std::size_t round_ = 0;
  Phase phase_ = Phase::filling;
  unsigned rounds_ = 0;  // in this phase
  Seconds round_shortest_{0};  // of this round's requests; 0: none
  unsigned free_rounds_ = 0;   // in which nothing waited in the link's queue, one after the other
  double filling_rate_ = 0;  // the best that one request saw
  double full_rate_ = 0;
  bool draining_ = false;  // for a moment, so that the shortest time is not one behind our own requests
};

}  // namespace r3
