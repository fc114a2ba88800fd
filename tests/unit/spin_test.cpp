// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/spin.hpp"

#include <gtest/gtest.h>

namespace r3 {
namespace {

// Moves on when the test says so, and by a little whenever it is asked.
struct Time {
  using duration = std::chrono::nanoseconds;
  using time_point = std::chrono::time_point<Time, duration>;
  static time_point now() { return time_point(passed += std::chrono::microseconds(1)); }
  static inline duration passed{0};
};

constexpr std::chrono::microseconds kShort{20}, kLong{200};

// How many waits that end after `time` it takes until a spin is tried, which fails.
int waits_until_spin(SpinBy<Time>& spin, std::chrono::microseconds time = kShort) {
  for (int waits = 0; waits < 10'000; ++waits) {
    bool tried = false;
    EXPECT_FALSE(spin.before_wait([&] { tried = true; return false; }));
    if (tried) return waits;
    Time::passed += time;
    spin.after_wait();
  }
  return -1;
}

TEST(Spin, BeginsAfterAShortWaitAndGetsRarerAsItFails) {
  SpinBy<Time> spin;
  for (const int waits : {1, 2, 4, 8}) EXPECT_EQ(waits_until_spin(spin), waits);
}

TEST(Spin, DoesNotBeginWhileWaitsAreLong) {
  SpinBy<Time> spin;
  EXPECT_EQ(waits_until_spin(spin, kLong), -1);
  EXPECT_EQ(waits_until_spin(spin), 1);
}

TEST(Spin, IsOverInTime) {
  SpinBy<Time> spin;
  waits_until_spin(spin);
  EXPECT_EQ(waits_until_spin(spin), 2);
  const auto begun = Time::passed;
  spin.before_wait([] { return false; });
  EXPECT_LE(Time::passed - begun, SpinBy<Time>::kLongest + std::chrono::microseconds(2));
}

TEST(Spin, ThatSucceedsGoesOn) {
  SpinBy<Time> spin;
  EXPECT_FALSE(spin.before_wait([] { return true; }));  // not tried yet
  spin.after_wait();
  int calls = 0;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(spin.before_wait([&] { return ++calls > 0; }));
  EXPECT_EQ(calls, 5);
}

}  // namespace
}  // namespace r3
