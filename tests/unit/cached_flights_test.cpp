// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_flights.hpp"

#include <gtest/gtest.h>

namespace r3::test {
namespace {

TEST(Flights, TheFreePartOfARun) {
  Flights flights;
  Flights::Ticket first, second, third;
  ASSERT_TRUE(flights.claim_background({0, 5}, {}, first));
  ASSERT_TRUE(flights.claim_background({8, 4}, {}, second));
  ASSERT_TRUE(flights.claim_background({2, 20}, {}, third));
  EXPECT_EQ(third->run, (ChunkRun{5, 3}));
}

// One flight ends inside the run, where another begins that goes on past its end.
TEST(Flights, ARunThatIsAllInFlightHasNoFreePart) {
  Flights flights;
  Flights::Ticket first, second, none;
  ASSERT_TRUE(flights.claim_background({0, 5}, {}, first));
  ASSERT_TRUE(flights.claim_background({5, 15}, {}, second));
  EXPECT_FALSE(flights.claim_background({0, 10}, {}, none));
  EXPECT_FALSE(flights.claim_background({0, 20}, {}, none));
  EXPECT_FALSE(flights.claim_background({6, 2}, {}, none));
  EXPECT_EQ(flights.count(), 20U);
}

}  // namespace
}  // namespace r3::test
