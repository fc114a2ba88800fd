// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/bell.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace r3 {
namespace {

using Clock = std::chrono::steady_clock;

TEST(Bell, ThatRangSinceOneLookedDoesNotKeepWaiting) {
  Bell bell;
  const auto rings = bell.rings();
  bell.ring();
  EXPECT_TRUE(bell.wait(rings));
}

TEST(Bell, TellsThatTheDeadlineHasPassed) {
  Bell bell;
  EXPECT_FALSE(bell.wait(bell.rings(), Clock::now()));
  EXPECT_FALSE(bell.wait(bell.rings(), Clock::now() + std::chrono::milliseconds(2)));
}

TEST(Bell, WakesEachThreadForEachChange) {
  constexpr int kTurns = 2000;
  Bell to, fro;
  std::atomic<int> asked{0}, answered{0};
  std::thread other([&] {
    for (int turn = 1; turn <= kTurns; ++turn) {
      for (auto rings = to.rings(); asked < turn; rings = to.rings()) to.wait(rings);
      answered = turn;
      fro.ring();
    }
  });
  for (int turn = 1; turn <= kTurns; ++turn) {
    asked = turn;
    to.ring();
    for (auto rings = fro.rings(); answered < turn; rings = fro.rings()) fro.wait(rings);
  }
  other.join();
  EXPECT_EQ(answered, kTurns);
}

}  // namespace
}  // namespace r3
