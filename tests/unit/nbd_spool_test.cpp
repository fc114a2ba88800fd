// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_spool.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>


namespace r3::nbd::server {
namespace {

using namespace std::chrono_literals;

class SpoolTest : public testing::Test {
 protected:
  static constexpr SpoolRules kRules{100, 1ms, 10};
  Spool spool_{kRules};
  Stop stop_;
  std::atomic<int> cuts_{0};

  std::function<void()> cut(std::optional<Spool::Place>& place) {
    return [this, &place] {
      ++cuts_;
      ender_ = std::jthread([&place] { place.reset(); });  // as the thread of a connection that was cut
    };
  }
  std::jthread ender_;
};

TEST_F(SpoolTest, RoomIsSharedAndGivenBack) {
  std::optional<Spool::Place> one(std::in_place, spool_, [] {});
  one->grow(60, stop_);
  one->complete();
  Spool::Place other(spool_, [] {});
  other.grow(40, stop_);
  one.reset();
  other.grow(60, stop_);
}

// The lane: a write that finds no room still gets to its end.
TEST_F(SpoolTest, WritesThatAllLackTheirEndsDoNotWaitForEachOther) {
  Spool::Place one(spool_, [] {});
  one.grow(100, stop_);
  one.complete();  // and its region does not answer
  for (int i = 0; i < 3; ++i) {
    Spool::Place other(spool_, [] {});
    other.grow(1000, stop_);
    other.grow(1000, stop_);
  }
}

TEST_F(SpoolTest, AWriteThatStallsIsCutWhereOthersWait) {
  std::optional<Spool::Place> liar, in_lane;
  liar.emplace(spool_, cut(liar));
  liar->grow(100, stop_);
  Spool::Place complete(spool_, [] { ADD_FAILURE() << "a complete write was cut"; });
  complete.grow(50, stop_);  // in the lane
  complete.complete();
  Spool::Place waits(spool_, [] { ADD_FAILURE() << "who waits was cut"; });
  waits.grow(100, stop_);
  ender_.join();
  EXPECT_EQ(cuts_, 1);
}

TEST_F(SpoolTest, ALiarInTheLaneIsCutToo) {
  Spool::Place full(spool_, [] {});
  full.grow(100, stop_);
  full.complete();
  std::optional<Spool::Place> liar;
  liar.emplace(spool_, cut(liar));
  liar->grow(5, stop_);
  Spool::Place waits(spool_, [] {});
  waits.grow(100, stop_);
  ender_.join();
  EXPECT_EQ(cuts_, 1);
}

TEST_F(SpoolTest, TheStopEndsTheWait) {
  Spool::Place full(spool_, [] {}), lane(spool_, [] {}), waits(spool_, [] {});
  full.grow(100, stop_);
  full.complete();
  lane.grow(1, stop_);
  lane.complete();
  stop_.request();
  try {
    waits.grow(1, stop_);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ESHUTDOWN);
  }
}

}  // namespace
}  // namespace r3::nbd::server
