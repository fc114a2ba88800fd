// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/uffd_layout.hpp"

#include <gtest/gtest.h>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/device/fault_streams.hpp"
#include "libcommon/device/follow_source.hpp"
#include "libcommon/device/zero_map.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t P = 4096;

TEST(UffdRanges, GoodOnesPass) {
  check_ranges({{10 * P, 4 * P, 0, P}, {14 * P, P, 4 * P, P}}, 5 * P);
  check_ranges({{P, P, 0, P}}, 1);  // the last page is only in part of the region
  check_ranges({{2 * MiB, 2 * MiB, 0, 2 * MiB}}, 5000);
}

TEST(UffdRanges, WhatCannotBeIsRefused) {
  const auto refused = [](std::vector<UffdRange> ranges, std::uint64_t size = 100 * P) {
    EXPECT_THROW(check_ranges(ranges, size), ProtocolError);
  };
  refused({});
  refused({{P, 0, 0, P}});
  refused({{P + 1, P, 0, P}});
  refused({{P, P + 1, 0, P}});
  refused({{P, P, 1, P}});
  refused({{0, P, 0, P}});
  refused({{P, P, 0, 1024}});
  refused({{P, P, 0, 0}});
  refused({{P, 2 * MiB, 0, 2 * MiB}});
  refused({{P, P, 100 * P, P}});
  refused({{P, 101 * P, 0, P}});
  refused({{P, P, ~std::uint64_t{0} / P * P, P}});
  refused({{~std::uint64_t{0} / P * P, P, 0, P}});
  refused({{P, ~std::uint64_t{0} / P * P, 0, P}}, ~std::uint64_t{0});
  refused({{10 * P, 4 * P, 0, P}, {13 * P, P, 4 * P, P}});
  refused({{10 * P, 4 * P, 0, P}, {10 * P, 4 * P, 0, P}});
}

TEST(UffdLayout, FindsPagesAndAddresses) {
  UffdLayout layout({{10 * P, 4 * P, 0, P}, {20 * P, 2 * P, 7 * P, P}});
  const auto found = layout.at(12 * P + 5);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->place.range, 0u);
  EXPECT_EQ(found->place.page, 2u);
  EXPECT_EQ(found->left, 2 * P);
  EXPECT_FALSE(layout.at(14 * P));
  EXPECT_FALSE(layout.at(9 * P));
  EXPECT_EQ(layout.where({1, 1})->address, 21 * P);
}

TEST(UffdLayout, FollowsMovesAndHoles) {
  UffdLayout layout({{10 * P, 10 * P, 0, P}});
  layout.moved(12 * P, 100 * P, 3 * P);
  EXPECT_FALSE(layout.at(13 * P));
  EXPECT_EQ(layout.at(101 * P)->place.page, 3u);
  EXPECT_EQ(layout.at(101 * P)->left, 2 * P);
  EXPECT_EQ(layout.where({0, 4})->address, 102 * P);
  EXPECT_EQ(layout.where({0, 5})->address, 15 * P);
  layout.unmapped(101 * P, P);
  EXPECT_FALSE(layout.at(101 * P));
  EXPECT_FALSE(layout.where({0, 3}));
  EXPECT_EQ(layout.at(102 * P)->place.page, 4u);
  EXPECT_EQ(layout.stretches().size(), 4u);
  layout.moved(102 * P, 10 * P, P);  // over what was there
  EXPECT_EQ(layout.at(10 * P)->place.page, 4u);
  EXPECT_FALSE(layout.where({0, 0}));
}

TEST(FaultStreams, OnesThatFollowGrowAndOthersDoNot) {
  FaultStreams streams(P, 16 * P);
  std::uint64_t at = 100 * P;
  for (const std::uint64_t wanted : {1, 2, 4, 8, 16, 16}) {
    EXPECT_EQ(streams.length_for(at, false), wanted * P);
    streams.brought(at += wanted * P);
  }
  EXPECT_EQ(streams.length_for(at, true), 8 * P);  // slow
  for (std::uint64_t far = 1000; far < 1006; ++far) {
    EXPECT_EQ(streams.length_for(far * 1000 * P, false), P);
    streams.brought((far * 1000 + 1) * P);
  }
  EXPECT_EQ(streams.length_for(1005 * 1000 * P + P, false), 2 * P);
}

TEST(FaultStreams, SeveralGrowSideBySide) {
  FaultStreams streams(P, 64 * P);
  std::uint64_t at[3] = {0, 1000 * P, 2000 * P};
  for (int round = 0; round < 4; ++round)
    for (auto& stream : at) {
      const auto length = streams.length_for(stream, false);
      EXPECT_EQ(length, P << round);
      streams.brought(stream += length);
    }
}

TEST(FollowSource, GivesEverythingOnceFromWhereItIsTouched) {
  FollowSource source(5 * MiB / 2);
  EXPECT_FALSE(source.demanded(MiB, 4096, true));
  EXPECT_EQ(source.next(MiB / 2), (PullRange{MiB, MiB / 2}));
  EXPECT_EQ(source.next(4 * MiB), (PullRange{MiB + MiB / 2, MiB / 2}));
  EXPECT_EQ(source.next(4 * MiB), (PullRange{2 * MiB, MiB / 2}));
  EXPECT_EQ(source.next(4 * MiB), (PullRange{0, MiB}));
  EXPECT_EQ(source.next(4 * MiB), std::nullopt);
}

class Holes : public Backend {
 public:
  std::uint64_t size() const override { return 100 * P; }
  void read_at(Bytes, std::uint64_t) override {}
  void write_at(ConstBytes, std::uint64_t) override {}
  void flush() override {}
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t) override {
    if (offset < 10 * P) return {{offset, 10 * P - offset, true, true}};
    if (offset < 20 * P) return {{offset, 20 * P - offset, false, false}};
    return {{offset, length, true, true}};
  }
};

TEST(ZeroMap, KnowsWhatTheRegionSaid) {
  Holes region;
  ZeroMap zeroes;
  EXPECT_FALSE(zeroes.row(0, P).zero);
  zeroes.survey(region, Stop());
  EXPECT_TRUE(zeroes.row(0, P).zero);
  EXPECT_EQ(zeroes.row(P, 100 * P).length, 9 * P);
  EXPECT_FALSE(zeroes.row(10 * P, 90 * P).zero);
  EXPECT_EQ(zeroes.row(12 * P, 90 * P).length, 8 * P);
  EXPECT_TRUE(zeroes.row(20 * P, P).zero);
  zeroes.forget(5 * P, 2 * P);
  EXPECT_EQ(zeroes.row(0, 100 * P).length, 5 * P);
  EXPECT_FALSE(zeroes.row(6 * P, P).zero);
  EXPECT_TRUE(zeroes.row(7 * P, P).zero);
  zeroes.forget(0, 100 * P);
  EXPECT_FALSE(zeroes.row(50 * P, P).zero);
}

}  // namespace

}  // namespace r3
