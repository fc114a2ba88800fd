// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/read_ahead.hpp"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kRegion = 1 * GiB;
constexpr std::uint64_t kBlock = 4 * KiB;
constexpr std::uint64_t kMost = 1 * MiB;

// An application on top of a cache: reads blocks, counts those that had been foreseen.
class Reader {
 public:
  explicit Reader(std::uint64_t most_ahead = kMost, std::uint64_t region = kRegion)
      : ahead_(region, most_ahead) {}

  void read(std::uint64_t offset, std::uint64_t length = kBlock) {
    ++reads;
    bool all = true;
    for (std::uint64_t at = offset; at < offset + length; at += kBlock)
      all = all && cache_.contains(at / kBlock);
    hits += all;
    for (std::uint64_t at = offset; at < offset + length; at += kBlock) {
      cache_.insert(at / kBlock);
      unused_.erase(at / kBlock);
    }
    if (ahead_.demanded(offset, length, !all)) fetch();
  }
  std::uint64_t wasted() const { return unused_.size() * kBlock; }

  unsigned reads = 0, hits = 0;
  std::uint64_t fetched = 0;

 private:
  void fetch() {
    while (const auto range = ahead_.next(256 * KiB)) {
      ASSERT_GT(range->length, 0U);
      ASSERT_LE(range->length, 256 * KiB);
      ASSERT_LE(range->offset + range->length, kRegion);
      fetched += range->length;
      for (auto at = range->offset; at < range->offset + range->length; at += kBlock)
        if (cache_.insert(at / kBlock).second) unused_.insert(at / kBlock);
    }
  }
  ReadAhead ahead_;
  std::set<std::uint64_t> cache_, unused_;
};

TEST(ReadAhead, SequentialReadsAreForeseenFromTheFourthOn) {
  Reader reader;
  for (std::uint64_t i = 0; i < 2000; ++i) reader.read(i * kBlock);
  EXPECT_EQ(reader.hits, reader.reads - 3);
  EXPECT_LE(reader.wasted(), kMost);
}

TEST(ReadAhead, BackwardReadsToo) {
  Reader reader;
  for (std::uint64_t i = 2000; i-- > 0;) reader.read(i * kBlock);
  EXPECT_EQ(reader.hits, reader.reads - 3);
  EXPECT_EQ(reader.wasted(), 0U);  // it ended where the region begins
}

TEST(ReadAhead, EqualStepsInBothDirections) {
  for (const bool up : {true, false}) {
    Reader reader;
    for (std::uint64_t i = 0; i < 500; ++i) reader.read((up ? i : 499 - i) * 72 * KiB);
    EXPECT_EQ(reader.hits, reader.reads - 4) << up;
    EXPECT_EQ(reader.fetched - reader.wasted(), (reader.reads - 4) * kBlock) << up;
  }
}

TEST(ReadAhead, SixteenStreamsAtOnce) {
  Reader reader;
  for (std::uint64_t i = 0; i < 200; ++i)
    for (std::uint64_t stream = 0; stream < 16; ++stream)
      reader.read((32 * stream + stream * stream) * MiB + i * (stream % 2 == 0 ? kBlock : 3 * kBlock));
  EXPECT_EQ(reader.hits, reader.reads - 8 * 3 - 8 * 4);
}

TEST(ReadAhead, RandomReadsCostNothing) {
  Reader reader;
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) reader.read(random() % (kRegion / kBlock) * kBlock);
  EXPECT_EQ(reader.fetched, 0U);
}

TEST(ReadAhead, WhatAStreamStopsAtCostsAtMostWhatItUsed) {
  for (std::uint64_t reads = 1; reads < 400; ++reads) {
    Reader reader;
    for (std::uint64_t i = 0; i < reads; ++i) reader.read(5 * MiB + i * kBlock);
    EXPECT_LE(reader.wasted(), std::min(reads * kBlock, kMost)) << reads;
  }
}

TEST(ReadAhead, ReadsOfDifferentLengthsAndALittleOutOfOrder) {
  Reader reader;
  for (std::uint64_t i = 0; i < 3; ++i) reader.read(i * 128 * KiB, 128 * KiB);
  for (std::uint64_t at = 384 * KiB; at < 16 * MiB; at += 256 * KiB) {
    reader.read(at + 128 * KiB, 128 * KiB);  // the second half first
    reader.read(at, 64 * KiB);
    reader.read(at + 64 * KiB, 64 * KiB);
  }
  EXPECT_EQ(reader.hits, reader.reads - 3);
}

TEST(ReadAhead, AStreamGoesOnBesideRandomReads) {
  Reader reader;
  std::mt19937_64 random(2);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    reader.read(i * kBlock);
    for (int other = 0; other < 3; ++other)
      reader.read(128 * MiB + random() % (kRegion / kBlock / 2) * kBlock);
  }
  EXPECT_GE(reader.hits, 1000U - 3);
}

TEST(ReadAhead, EndsWithTheRegion) {
  for (const std::uint64_t size : {kRegion, kRegion - 1000}) {
    ReadAhead ahead(size, kMost);
    for (std::uint64_t at = kRegion - 5 * kBlock; at + kBlock <= size; at += kBlock)
      ahead.demanded(at, kBlock, true);
    while (const auto range = ahead.next(kMost))
      EXPECT_LE(range->offset + range->length, size);
    EXPECT_FALSE(ahead.demanded(~0ULL - 5, 100, true));
    EXPECT_FALSE(ahead.demanded(size, 1, true));
    EXPECT_FALSE(ahead.demanded(0, 0, true));
  }
}

TEST(ReadAhead, TheLimitCanBeMoved) {
  ReadAhead ahead(kRegion, 64 * KiB);
  const auto given = [&] {
    std::uint64_t bytes = 0;
    while (const auto range = ahead.next(kMost)) bytes += range->length;
    return bytes;
  };
  for (std::uint64_t i = 0; i < 256; ++i) {
    ahead.demanded(i * kBlock, kBlock, false);
    EXPECT_LE(given(), 64 * KiB);
  }
  ahead.set_most_ahead(8 * MiB);
  EXPECT_TRUE(ahead.demanded(256 * kBlock, kBlock, false));
  EXPECT_GE(given(), 900 * KiB);
  ReadAhead none(kRegion, 0);
  for (std::uint64_t i = 0; i < 10; ++i) none.demanded(i * kBlock, kBlock, true);
  EXPECT_FALSE(none.next(kMost));
}

}  // namespace
}  // namespace r3::test
