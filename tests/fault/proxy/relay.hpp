// SPDX-License-Identifier: Apache-2.0
// One proxied connection: two sockets, two lanes, and the faults that concern the connection as a
// whole: cut with a RST, black hole, half-open. Runs in a thread of its own; what others may call is
// marked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "tests/fault/proxy/lane.hpp"

namespace r3::fault {

struct Settings {
  Shape shape;
  FaultPlan plan;
  std::uint64_t reset_after = UINT64_MAX;  // bytes of one direction
  std::uint64_t hole_after = UINT64_MAX;
  bool half_open = false;          // the end of one side is never told to the other
  bool faults_up = true;           // the faults concern what clients send,
  bool faults_down = true;         // and what the target sends
};

// What has happened so far, over all connections. Any thread reads.
struct Totals {
  std::atomic<std::uint64_t> up{0};    // bytes delivered to the target
  std::atomic<std::uint64_t> down{0};  // bytes delivered to clients
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> resets{0};
  std::atomic<std::uint64_t> holes{0};
  FaultCounts faults;
};

class Relay {
 public:
  // `number` counts the connections: each suffers its own faults. Borrows settings and totals.
  Relay(Fd client, Fd target, std::uint64_t number, const Settings& settings, Totals& totals);

  // Until both sides have ended, the connection is cut, or the stop is requested.
  void run(const Stop& stop);

  // Any thread:
  void cut();             // both sides get a RST (a UNIX socket: the end)
  void hole(bool on);     // nothing passes, nothing is lost, nobody is told

 private:
  struct Side {
    Fd socket;
    Lane lane;                 // what this side sends
    std::atomic<std::uint64_t>& total;  // of what that lane has delivered
    bool subject;              // to reset_after and hole_after
    std::uint64_t received = 0;
    bool ended = false;        // it sends no more
    bool told = false;         // the other side knows
    bool blocked = false;      // the other side takes no more for now
    bool gone = false;         // seen closed while in the hole
  };

  bool pump(Nanoseconds now);  // false: the connection is over
  bool receive(Side& from, Nanoseconds now);
  bool deliver(Side& from, Side& to, Nanoseconds now);
  void wait(const Stop& stop);
  void reset();
  std::uint64_t bytes_wanted(const Side& side) const;
  void poke();

  const Settings& settings_;
  Totals& totals_;
  std::array<Side, 2> sides_;
  Fd poked_;                       // eventfd: something below has changed
  std::atomic<bool> cut_{false};
  std::atomic<bool> hole_{false};
};

}  // namespace r3::fault
