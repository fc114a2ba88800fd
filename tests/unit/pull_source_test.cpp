// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_source.hpp"

#include <gtest/gtest.h>

namespace r3 {
namespace {

TEST(SequentialSource, GivesEveryByteOnceInOrder) {
  SequentialSource source(10);
  EXPECT_EQ(source.next(4), (PullRange{0, 4}));
  EXPECT_EQ(source.next(4), (PullRange{4, 4}));
  EXPECT_EQ(source.next(4), (PullRange{8, 2}));
  EXPECT_FALSE(source.next(4));
}

TEST(SequentialSource, HasNothingForAnEmptyRegionOrARead) {
  SequentialSource source(0);
  EXPECT_FALSE(source.next(4));
  EXPECT_FALSE(source.demanded(0, 0, true));
}

}  // namespace
}  // namespace r3
