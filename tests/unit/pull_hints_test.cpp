// SPDX-License-Identifier: Apache-2.0
// What the hints do with bytes that nobody would write; tests/cli/pull-hints.bats has real files.
#include "libcommon/storage/pull_hints.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {
namespace {

struct Result {
  bool taken = false;
  std::vector<PullRange> named;
  unsigned reads = 0;
};

Result ask(Hint hint, ConstBytes bytes, const Stop& stop = {}) {
  auto memory = std::make_unique<MemoryBackend>(bytes.size());
  memory->write_at(bytes, 0);
  CountingBackend region(std::move(memory));
  Result result;
  const HintView::Want want = [&](PullRange range) { result.named.push_back(range); };
  HintView view(region, stop, want);
  result.taken = hint(view);
  result.reads = region.calls(Call::read);
  return result;
}

void put_text(std::vector<std::byte>& bytes, std::size_t at, std::string_view text) {
  std::memcpy(&bytes[at], text.data(), text.size());
}

TEST(PullHints, AViewReadsInWindowsAndNotPastItsEnd) {
  CountingBackend region(std::make_unique<PatternBackend>(200'000));
  std::vector<PullRange> named;
  const HintView::Want want = [&](PullRange range) { named.push_back(range); };
  const Stop stop;
  HintView whole(region, stop, want);
  HintView part(whole, 100'000, 50'000);
  EXPECT_EQ(part.size(), 50'000U);
  std::array<std::byte, 16> bytes;
  EXPECT_TRUE(part.read(bytes, 8));
  EXPECT_EQ(load_le<std::uint64_t>(&bytes[8]), 100'016U);
  EXPECT_TRUE(part.read(bytes, 24));
  EXPECT_EQ(region.calls(Call::read), 1U);
  EXPECT_FALSE(part.read(bytes, 50'000 - 15));
  EXPECT_FALSE(part.read(bytes, ~0ULL));
  part.want(49'999, 10);
  part.want(50'000, 10);
  part.want(0, 0);
  EXPECT_EQ(named, (std::vector<PullRange>{{149'999, 1}}));
  EXPECT_EQ(HintView(whole, 300'000, 10).size(), 0U);
}

TEST(PullHints, NoMoreReadsThanAllowed) {
  CountingBackend region(std::make_unique<ZeroBackend>(~0ULL));
  const HintView::Want want = [](PullRange) {};
  const Stop stop;
  HintView view(region, stop, want);
  std::byte byte;
  for (std::uint64_t i = 0; i < HintView::kMostReads; ++i)
    ASSERT_TRUE(view.read({&byte, 1}, i * HintView::kWindow));
  EXPECT_FALSE(view.read({&byte, 1}, 1ULL << 50));
}

TEST(PullHints, AStopEndsThem) {
  std::vector<std::byte> bytes(100);
  put_text(bytes, 0, "#!/bin/sh");
  Stop stop;
  EXPECT_TRUE(ask(hint_script, bytes, stop).taken);
  stop.request();
  EXPECT_FALSE(ask(hint_script, bytes, stop).taken);
}

TEST(PullHints, AFileOfTinyBoxesIsNotReadToItsEnd) {
  std::vector<std::byte> bytes(4 * MiB);
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    store_be<std::uint32_t>(&bytes[at], 8);
    put_text(bytes, at + 4, at == 0 ? "ftyp" : "moof");
  }
  const Result result = ask(hint_mp4, bytes);
  EXPECT_TRUE(result.taken);
  EXPECT_LE(result.named.size(), 2048U);
}

TEST(PullHints, BoxesWith64BitLengths) {
  std::vector<std::byte> bytes(100);
  store_be<std::uint32_t>(&bytes[0], 1);
  put_text(bytes, 4, "mdat");
  store_be<std::uint64_t>(&bytes[8], 60);
  store_be<std::uint32_t>(&bytes[60], 0);
  put_text(bytes, 64, "moov");
  EXPECT_EQ(ask(hint_mp4, bytes).named, (std::vector<PullRange>{{60, 40}, {0, 16}}));
  store_be<std::uint64_t>(&bytes[8], ~0ULL);  // past any end
  EXPECT_EQ(ask(hint_mp4, bytes).named, (std::vector<PullRange>{{0, 16}}));
}

// A database whose only table's tree has itself below itself.
TEST(PullHints, ATreeThatGoesInCircles) {
  std::vector<std::byte> bytes(4 * 512);
  put_text(bytes, 0, std::string_view("SQLite format 3", 16));
  store_be<std::uint16_t>(&bytes[16], 512);
  bytes[100] = std::byte{13};                  // the schema: a leaf,
  store_be<std::uint16_t>(&bytes[103], 1);     // with one row,
  store_be<std::uint16_t>(&bytes[108], 400);   // here:
  const unsigned char row[] = {10, 1, 6, 17, 13, 13, 1, 23, 't', 'a', 3};  // rootpage 3
  std::memcpy(&bytes[400], row, sizeof row);
  for (const std::size_t page : {1, 2, 3}) {
    std::byte* at = &bytes[page * 512];
    at[0] = std::byte{5};
    store_be<std::uint16_t>(at + 3, 1);
    store_be<std::uint16_t>(at + 12, 100);
    store_be<std::uint32_t>(at + 100, 4 - static_cast<std::uint32_t>(page));  // 2 -> 3 -> 2
    store_be<std::uint32_t>(at + 8, 0xffffffff);
  }
  const Result result = ask(hint_sqlite, bytes);
  EXPECT_TRUE(result.taken);
  EXPECT_EQ(result.named, (std::vector<PullRange>{{0, 512}, {1024, 512}, {512, 512}}));
}

TEST(PullHints, AFileSystemThatClaimsToBeEndless) {
  std::vector<std::byte> bytes(1 * MiB);
  std::byte* super = &bytes[1024];
  store_le<std::uint16_t>(super + 0x38, 0xef53);
  store_le<std::uint32_t>(super + 0x04, ~0U);
  store_le<std::uint32_t>(super + 0x20, 1);
  store_le<std::uint32_t>(super + 0x28, ~0U);
  const Result result = ask(hint_ext4, bytes);
  EXPECT_TRUE(result.taken);
  EXPECT_LE(result.reads, 64U);
  store_le<std::uint32_t>(super + 0x18, 77);  // no such block size
  EXPECT_FALSE(ask(hint_ext4, bytes).taken);
}

TEST(PullHints, WhatTheRegionRefusesIsPassedOn) {
  FaultyBackend region(std::make_unique<ZeroBackend>(1 * MiB));
  region.fail_from(Call::read, 1, EIO);
  const HintView::Want want = [](PullRange) {};
  const Stop stop;
  HintView view(region, stop, want);
  EXPECT_THROW(hint_any(view), std::system_error);
  EXPECT_EQ(hint_any(view), "");
}

}  // namespace
}  // namespace r3::test
