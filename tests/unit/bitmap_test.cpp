// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/bitmap.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace r3 {
namespace {

TEST(Bitmap, IsClearAtFirst) {
  const Bitmap bits(130);
  EXPECT_EQ(bits.size(), 130u);
  EXPECT_EQ(bits.count(0, 130), 0u);
  EXPECT_EQ(bits.next_set(0, 130), 130u);
  EXPECT_EQ(bits.next_clear(129, 130), 129u);
}

TEST(Bitmap, UsesTheWordsItIsGiven) {
  std::vector<std::uint64_t> words(2);
  Bitmap bits(words, 100);
  bits.set(63, 2);
  EXPECT_EQ(words[0], 1ULL << 63);
  EXPECT_EQ(words[1], 1u);
}

// Random changes and questions against a vector of bool.
TEST(Bitmap, DoesWhatAVectorOfBoolDoes) {
  std::mt19937_64 random(7);
  for (const std::uint64_t size : {1u, 63u, 64u, 65u, 200u, 1000u}) {
    Bitmap bits(size);
    std::vector<bool> model(size);
    for (int step = 0; step < 2000; ++step) {
      const auto first = random() % size;
      const auto count = random() % (size - first + 1);
      const auto from = model.begin() + static_cast<std::ptrdiff_t>(first);
      const auto to = from + static_cast<std::ptrdiff_t>(count);
      const auto ones = static_cast<std::uint64_t>(std::count(from, to, true));
      EXPECT_EQ(bits.count(first, count), ones);
      EXPECT_EQ(bits.next_set(first, first + count),
                static_cast<std::uint64_t>(std::find(from, to, true) - model.begin()));
      EXPECT_EQ(bits.next_clear(first, first + count),
                static_cast<std::uint64_t>(std::find(from, to, false) - model.begin()));
      const bool value = random() % 2 == 0;
      EXPECT_EQ(value ? bits.set(first, count) : bits.clear(first, count),
                value ? count - ones : ones);
      std::fill(from, to, value);
      EXPECT_EQ(bits.test(first), model[first]);
    }
  }
}

}  // namespace
}  // namespace r3
