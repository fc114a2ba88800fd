// SPDX-License-Identifier: Apache-2.0
// One direction of a link: bytes go in, and come out later, at a rate, in pieces. The rate is paid before
// the delay, as on a real link: a burst is first serialised, then travels. Knows no sockets but the one
// it delivers to; the time is given to it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "tests/fault/proxy/faults.hpp"

namespace r3::fault {

using Nanoseconds = std::int64_t;  // of the monotonic clock, or a length of time
inline constexpr Nanoseconds kNever = INT64_MAX;

// What a link is like; shared by all lanes, changed while they run.
struct Shape {
  std::atomic<Nanoseconds> delay{0};  // one way
  double bits_per_second = 0;         // 0: as fast as it goes
  std::size_t queue = 0;              // bytes that wait before the link; 0: as many as it holds
  std::size_t segment = 0;            // most bytes handed over at once; 0: any number
  Nanoseconds pause = 0;              // between two segments (slow loris)
};

// "0.5ms", "10ms", "1s"; finer than parse_duration(): links have delays of less than a millisecond.
Nanoseconds parse_delay(const std::string& text);
// "100M", "1G" bits a second: links count in decimal bits.
double parse_rate(const std::string& text);

enum class Delivery { done, blocked, broken };

class Lane {
 public:
  Lane(const Shape& shape, const FaultPlan& plan, std::uint64_t stream, FaultCounts& counts);

  // Bytes have arrived at `now`.
  void push(ConstBytes bytes, Nanoseconds now);
  // No more will: what the faults kept back goes out too.
  void end(Nanoseconds now);
  // Hands over what is due to the socket. "broken": the socket takes no more, ever.
  Delivery deliver(int socket, Nanoseconds now);
  // From now on everything is thrown away.
  void discard();

  // The link holds all that it can: the sender has to wait.
  bool full() const { return queued_ >= limit(); }
  bool empty() const { return queue_.empty(); }
  Nanoseconds next_due() const;
  std::uint64_t delivered() const { return delivered_; }

 private:
  struct Piece {
    Nanoseconds due;
    std::vector<std::byte> bytes;
  };
  void enqueue(std::vector<std::byte> bytes, Nanoseconds now);
  std::size_t limit() const;

  const Shape& shape_;
  bool faulty_;
  FaultStream faults_;
  std::deque<Piece> queue_;
  std::size_t queued_ = 0;      // bytes in the queue
  std::size_t sent_ = 0;        // of the first piece
  std::uint64_t delivered_ = 0;
  Nanoseconds next_free_ = 0;   // when the link has serialised all it was given
  Nanoseconds not_before_ = 0;  // the next segment
  bool discarding_ = false;
};

}  // namespace r3::fault
