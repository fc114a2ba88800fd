// SPDX-License-Identifier: Apache-2.0
// When data are compressed: what the link and the compressor were measured at decides.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "libcommon/net/r3_frame.hpp"
#include "libcommon/net/r3_payload.hpp"

namespace {

using namespace r3;
using namespace r3::wire;
using namespace std::chrono_literals;

constexpr double kSlow = 1e6;  // bytes a second
constexpr double kFast = 5e9;
constexpr std::size_t kSize = 64 * KiB;

// A link that takes `rate` bytes a second of what is offered without a pause.
void offer(LinkRate& link, std::uint64_t bytes, double rate, LinkRate::Clock::time_point& now) {
  link.tried(0, true, now);
  for (std::uint64_t sent = 0; sent < bytes; sent += kSize) {
    now += std::chrono::duration_cast<LinkRate::Clock::duration>(
        std::chrono::duration<double>(kSize / rate));
    link.tried(kSize, sent + kSize < bytes, now);
  }
}

TEST(LinkRate, IsMeasuredWhileTheLinkHoldsUsUp) {
  LinkRate link;
  LinkRate::Clock::time_point now{1h};
  EXPECT_EQ(link.bytes_per_second(), 0) << "never was the limit";
  offer(link, 1 * MiB, 1e7, now);
  EXPECT_NEAR(link.bytes_per_second(), 1e7, 1e5);
  offer(link, 1 * MiB, 2e6, now);
  EXPECT_NEAR(link.bytes_per_second(), 2e6, 1e5) << "it became slower";
}

TEST(LinkRate, IsNoneForALinkThatTakesEverything) {
  LinkRate link;
  for (int i = 0; i < 1000; ++i) link.tried(kSize, false, LinkRate::Clock::time_point(1h + i * 1s));
  EXPECT_EQ(link.bytes_per_second(), 0);
}

TEST(LinkRate, IsForgottenOnALinkThatBecameFast) {
  LinkRate link;
  LinkRate::Clock::time_point now{1h};
  offer(link, 1 * MiB, 1e7, now);
  for (int i = 0; i < 1024; ++i) link.tried(kSize, false, now += 1ms);
  EXPECT_GT(link.bytes_per_second(), 1e9);
}

std::vector<std::byte> text() {
  std::string words;
  for (std::mt19937 random(1); words.size() < kSize;) words += std::to_string(random() % 500) + " and ";
  words.resize(kSize);
  const auto bytes = as_bytes(words);
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> noise() {
  std::vector<std::byte> bytes(kSize);
  std::mt19937_64 random(2);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

// How many of `times` pieces are compressed smaller.
int packed(Packer& packer, ConstBytes data, bool may, double rate, int times) {
  int smaller = 0;
  for (int i = 0; i < times; ++i) smaller += packer.pack(data, may, rate).flags == kZstd;
  return smaller;
}

TEST(Packer, CompressesForASlowLinkOnly) {
  const auto data = text();
  EXPECT_EQ(packed(*std::make_unique<Packer>(), data, true, kSlow, 100), 100);
  EXPECT_EQ(packed(*std::make_unique<Packer>(), data, true, kFast, 100), 0);
  EXPECT_EQ(packed(*std::make_unique<Packer>(), data, true, 0, 100), 0) << "a link that never held us up";
  EXPECT_EQ(packed(*std::make_unique<Packer>(), data, false, kSlow, 100), 0) << "not agreed on";
}

TEST(Packer, StopsWhenTheLinkBecameFast) {
  Packer packer;
  const auto data = text();
  EXPECT_EQ(packed(packer, data, true, kSlow, 10), 10);
  EXPECT_EQ(packed(packer, data, true, kFast, 100), 0);
  EXPECT_EQ(packed(packer, data, true, kSlow, 10), 10);
}

// What Packer does with data that never become smaller, counted in tries.
TEST(Thrift, GivesUpOnWhatDoesNotCompressAndFindsItsWayBack) {
  Thrift thrift;
  const auto tries = [&](std::size_t becomes, int pieces) {
    int tried = 0;
    for (int i = 0; i < pieces; ++i)
      if (thrift.worth_trying(kSlow)) {
        ++tried;
        thrift.compressed(kSize, becomes, 200us);
      }
    return tried;
  };
  EXPECT_EQ(tries(kSize, 1), 1);
  EXPECT_LE(tries(kSize, 4000), 10) << "of 4000 pieces";
  EXPECT_GT(tries(kSize / 4, 4000), 2000) << "again after at most 1024";
}

TEST(Packer, SendsZeroesAndRepetitionsAsFlagsWithoutCompressing) {
  Packer packer;
  const std::vector<std::byte> zeroes(kSize), ones(kSize, std::byte{1});
  EXPECT_EQ(packer.pack(zeroes, false, 0).flags, kZeroes);
  EXPECT_EQ(packer.pack(zeroes, false, 0).bytes.size(), 0u);
  EXPECT_EQ(packer.pack(ones, false, 0).flags, kRepeat);
  EXPECT_EQ(packer.pack(noise(), true, kSlow).flags, 0);
}

}  // namespace
