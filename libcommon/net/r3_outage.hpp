// SPDX-License-Identifier: Apache-2.0
// How long an r3/1 client has been without its server. One outage for all connections and all requests: it
// begins when somebody waits and nothing is heard, and whoever comes while it lasts waits only for the rest
// of the user's patience. Any thread may call. Part of r3_client.
#pragma once

#include <atomic>
#include <chrono>

namespace r3 {

class Outage {
 public:
  using Clock = std::chrono::steady_clock;

  // 0: everybody waits for ever.
  explicit Outage(std::chrono::milliseconds patience) : patience_(patience) {}

  // A request begins to wait at `now`; one that waited has its answer or was given up.
  void begin_wait(Clock::time_point now) {
    if (waiting_.fetch_add(1) == 0 && !over_) since_ = now;
  }
  void end_wait() { --waiting_; }
  // Bytes came, on whichever connection.
  void heard(Clock::time_point now) {
    since_ = now;
    over_ = false;
  }
  // When those give up who wait: in the past once one has, until the server is heard again.
  Clock::time_point end() const {
    return patience_.count() == 0 ? Clock::time_point::max() : since_.load() + patience_;
  }
  void give_up() { over_ = true; }

 private:
  const std::chrono::milliseconds patience_;
  std::atomic<unsigned> waiting_{0};
  std::atomic<Clock::time_point> since_{};  // nothing was heard, though somebody waited for it
  std::atomic<bool> over_{false};           // the patience was
};

}  // namespace r3
