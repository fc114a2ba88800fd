// SPDX-License-Identifier: Apache-2.0
// A puller on a simulated link: requests travel half a round trip, answers leave one after the other at the
// link's rate, and travel the other half. No clock is read.
#include "libcommon/storage/cached_link.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {
namespace {

using namespace std::chrono_literals;
using Seconds = LinkMeter::Seconds;
using Time = LinkMeter::Clock::time_point;

struct Line {
  double rate;  // bytes a second
  Seconds round_trip;
};

class Simulation {
 public:
  explicit Simulation(Line line) : line_(line) {}

  void change(Line line) { line_ = line; }

  // Pulls for so long, at most 16 requests at once, and measures from then on.
  void run(Seconds how_long) {
    carried_ = 0;
    longest_wait_ = Seconds(0);
    waits_.clear();
    const auto begin = now_, end = now_ + ticks(how_long);
    while (now_ < end) {
      while (has_room() && meter_.next_send() <= now_) send();
      const auto [request, arrives] = on_way_.front();
      if (has_room() && meter_.next_send() < arrives) {
        look(now_, meter_.next_send());
        now_ = meter_.next_send();
        continue;
      }
      on_way_.pop_front();
      look(now_, arrives);
      now_ = arrives;
      meter_.answer(request, now_);
      carried_ += static_cast<double>(request.bytes);
    }
    used_ = carried_ / Seconds(now_ - begin).count() / line_.rate;
  }

  double used() const { return used_; }  // of the link's rate
  Seconds longest_wait() const { return longest_wait_; }  // for the link to be free
  // What so large a part of the short requests that come at any time wait at most.
  Seconds wait_of(double part) {
    std::sort(waits_.begin(), waits_.end());
    return waits_.at(static_cast<std::size_t>(part * static_cast<double>(waits_.size() - 1)));
  }

 private:
  static LinkMeter::Clock::duration ticks(Seconds seconds) {
    return std::chrono::duration_cast<LinkMeter::Clock::duration>(seconds);
  }

  bool has_room() const { return on_way_.size() < 16 && meter_.in_flight() < meter_.window(); }

  // An urgent request every millisecond.
  void look(Time from, Time to) {
    for (; looked_ < to; looked_ += 1ms)
      if (looked_ >= from) waits_.push_back(std::max<Seconds>(Seconds(0), free_at_ - looked_ - line_.round_trip / 2));
  }

  void send() {
    const auto size = meter_.request_size();
    const auto request = meter_.send(size, now_);
    const auto there = now_ + ticks(line_.round_trip / 2);
    longest_wait_ = std::max<Seconds>(longest_wait_, free_at_ - there);
    free_at_ = std::max(free_at_, there) + ticks(Seconds(static_cast<double>(size) / line_.rate));
    on_way_.push_back({request, free_at_ + ticks(line_.round_trip / 2)});
  }

  struct OnWay {
    LinkMeter::Request request;
    Time arrives;
  };
  Line line_;
  LinkMeter meter_;
  Time now_ = Time(1s), free_at_ = now_;
  std::deque<OnWay> on_way_;
  double carried_ = 0, used_ = 0;
  Seconds longest_wait_{0};
  Time looked_ = now_;
  std::vector<Seconds> waits_;
};

class LinkMeterOn : public testing::TestWithParam<Line> {};

// What an urgent read waits for behind the pulling: a part of a round trip, and what waking threads take.
TEST_P(LinkMeterOn, FillsTheLinkAndLittleMore) {
  const auto& line = GetParam();
  const Seconds least = std::max(Seconds(80.0 * KiB / line.rate), Seconds(0.004));
  const Seconds first_window{512.0 * KiB / line.rate};
  Simulation pulling(line);
  pulling.run(2s);
  EXPECT_LE(pulling.wait_of(0.99), line.round_trip * 0.1 + least + first_window);
  pulling.run(20s);
  EXPECT_GE(pulling.used(), 0.97);
  EXPECT_LE(pulling.wait_of(0.99), line.round_trip * 0.1 + least);
}

INSTANTIATE_TEST_SUITE_P(Lines, LinkMeterOn,
                         testing::Values(Line{1.25e6, 20ms}, Line{12.5e6, 2ms}, Line{12.5e6, 100ms},
                                         Line{125e6, Seconds(0.0002)}, Line{125e6, 2ms}, Line{125e6, 10ms},
                                         Line{125e6, 40ms}, Line{125e6, 100ms}, Line{1250e6, 2ms}),
                         [](const auto& line) {
                           return std::to_string(static_cast<int>(line.param.rate / 1e3)) + "kB_" +
                                  std::to_string(static_cast<int>(line.param.round_trip.count() * 1e4));
                         });

// As of a server that logs its connections in one by one.
TEST(LinkMeter, SlowFirstAnswersDoNotHoldItBack) {
  Simulation pulling({3e6, 40ms});
  pulling.run(1s);
  pulling.change({125e6, 40ms});
  pulling.run(1s);
  pulling.run(1s);
  EXPECT_GE(pulling.used(), 0.9);
}

TEST(LinkMeter, FollowsALinkThatGetsFasterOrSlower) {
  Simulation pulling({25e6, 20ms});
  pulling.run(5s);
  pulling.change({125e6, 20ms});
  pulling.run(5s);
  pulling.run(5s);
  EXPECT_GE(pulling.used(), 0.97);
  pulling.change({12.5e6, 20ms});
  pulling.run(30s);
  pulling.run(5s);
  EXPECT_GE(pulling.used(), 0.97);
  EXPECT_LE(pulling.longest_wait(), 40ms);
}

}  // namespace
}  // namespace r3
