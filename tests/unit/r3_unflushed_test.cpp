// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_unflushed.hpp"

#include <gtest/gtest.h>

#include <random>

namespace {

using namespace r3;

TEST(UnflushedLog, GivesBackWhatItTookInItsOrder) {
  UnflushedLog log(10'000);
  std::mt19937_64 random(1);
  std::deque<std::vector<std::byte>> expected;
  for (int i = 0; i < 20'000; ++i) {
    if (random() % 2 == 0 && !expected.empty()) {
      const auto& oldest = log.changes().front();
      ASSERT_TRUE(std::equal(oldest.data.begin(), oldest.data.end(), expected.front().begin(),
                             expected.front().end()));
      log.pop();
      expected.pop_front();
    } else {
      std::vector<std::byte> data(random() % (random() % 10 == 0 ? 12'000 : 900));
      for (auto& b : data) b = static_cast<std::byte>(random());
      log.push({.length = static_cast<std::uint32_t>(data.size())}, data);
      expected.push_back(std::move(data));
    }
    ASSERT_EQ(log.size(), expected.size());
  }
  while (!log.empty()) {
    ASSERT_EQ(log.changes().front().data.size(), expected.front().size());
    ASSERT_TRUE(std::equal(expected.front().begin(), expected.front().end(),
                           log.changes().front().data.begin()));
    log.pop();
    expected.pop_front();
  }
}

TEST(UnflushedLog, IsFullAtItsLimit) {
  UnflushedLog log(10'000);
  const std::vector<std::byte> data(6'000);
  log.push({}, data);
  EXPECT_FALSE(log.full());
  log.push({}, data);
  EXPECT_TRUE(log.full());
  log.pop();
  EXPECT_FALSE(log.full());
}

}  // namespace
