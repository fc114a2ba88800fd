// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_order.hpp"

#include <gtest/gtest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/whole_file.hpp"
#include "libcommon/storage/pull_list.hpp"
#include "libcommon/storage/pull_recording.hpp"

namespace r3 {

static void PrintTo(const PullRange& range, std::ostream* out) {  // for messages
  *out << range.offset << "+" << range.length;
}

namespace test {
namespace {

using Ranges = std::vector<PullRange>;

Ranges all_of(PullSource& source, std::uint64_t most) {
  Ranges all;
  while (auto range = source.next(most)) all.push_back(*range);
  return all;
}

TEST(PullOrder, NamedRangesFirstThenEverything) {
  PullOrder order(100, {{50, 20}, {10, 5}}, PullRest::sequential);
  EXPECT_EQ(all_of(order, 16),
            (Ranges{{50, 16}, {66, 4}, {10, 5}, {0, 16}, {16, 16}, {32, 16}, {48, 16}, {64, 16},
                    {80, 16}, {96, 4}}));
}

TEST(PullOrder, BackwardsInAlignedParts) {
  PullOrder order(100, {}, PullRest::reverse);
  EXPECT_EQ(all_of(order, 32), (Ranges{{96, 4}, {64, 32}, {32, 32}, {0, 32}}));
  PullOrder empty(0, {}, PullRest::reverse);
  EXPECT_FALSE(empty.next(32));
}

TEST(PullOrder, NothingButWhatWasNamed) {
  PullOrder order(100, {{1, 2}}, PullRest::nothing);
  EXPECT_EQ(all_of(order, 64), (Ranges{{1, 2}}));
}

TEST(PullOrder, WhatIsAppendedComesBeforeTheRest) {
  PullOrder order(1000, {{500, 10}}, PullRest::sequential);
  EXPECT_EQ(order.next(100), (PullRange{500, 10}));
  EXPECT_EQ(order.next(100), (PullRange{0, 100}));
  EXPECT_TRUE(order.append({700, 50}));
  EXPECT_TRUE(order.append({750, 50}));   // adjoins
  EXPECT_TRUE(order.append({990, 100}));  // is cut
  EXPECT_TRUE(order.append({1000, 1}));   // is outside
  EXPECT_EQ(order.next(200), (PullRange{700, 100}));
  EXPECT_EQ(order.next(200), (PullRange{990, 10}));
  EXPECT_EQ(order.next(200), (PullRange{100, 200}));
}

TEST(PullOrder, TakesSoManyRangesAndNoMore) {
  PullOrder order(~0ULL, {}, PullRest::nothing);
  for (std::uint64_t i = 0; i < PullOrder::kMostRanges; ++i) ASSERT_TRUE(order.append({2 * i, 1}));
  EXPECT_FALSE(order.append({1ULL << 40, 1}));
}

TEST(PullLayers, TheFirstThatHasSomethingGives) {
  std::vector<std::unique_ptr<PullSource>> layers;
  auto first = std::make_unique<PullOrder>(100, Ranges{{90, 10}}, PullRest::nothing);
  PullOrder& urgent = *first;
  auto recording = std::make_unique<PullRecording>(8192);
  PullRecording& heard = *recording;
  layers.push_back(std::move(first));
  layers.push_back(std::move(recording));
  layers.push_back(std::make_unique<SequentialSource>(100));
  PullLayers source(std::move(layers));
  EXPECT_EQ(source.next(50), (PullRange{90, 10}));
  EXPECT_EQ(source.next(50), (PullRange{0, 50}));
  urgent.append({5, 1});
  EXPECT_EQ(source.next(50), (PullRange{5, 1}));
  EXPECT_EQ(source.next(50), (PullRange{50, 50}));
  EXPECT_FALSE(source.next(50));
  EXPECT_FALSE(source.demanded(4096, 1, true));
  EXPECT_NE(heard.text().find("\n4096,4096\n"), std::string::npos);
}

TEST(PullList, UnitsWeightsCommentsAndBlanks) {
  const PullList list = parse_pull_list(
      "# a comment\n\n1M\n 4K , 8K \n64K,4K,5 # first\r\n0,1,0\n12K,1,1", "order", 1 * GiB);
  EXPECT_EQ(list.ranges, (Ranges{{64 * KiB, 4 * KiB}, {1 * MiB, 1}, {4 * KiB, 8 * KiB},
                                 {12 * KiB, 1}, {0, 1}}));
  EXPECT_EQ(list.outside, 0U);
}

TEST(PullList, WhatLiesOutsideIsLeftOutAndCounted) {
  const PullList list = parse_pull_list("90,20\n100\n8000000T,1\n5", "order", 100);
  EXPECT_EQ(list.ranges, (Ranges{{90, 10}, {5, 1}}));
  EXPECT_EQ(list.outside, 3U);
  EXPECT_EQ(parse_pull_list("0,1", "order", 0).outside, 1U);
}

std::string refusal(const std::string& text) {
  try {
    parse_pull_list(text, "the order", 1 * GiB);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "taken";
}

TEST(PullList, ABadLineIsNamedByItsNumber) {
  EXPECT_EQ(refusal("1K\n\n2K,x\n"), "the order: line 3: \"x\" is not a size (a number, or one with "
                                       "K, M, G or T: 4096, 64K, 1M)");
  EXPECT_EQ(refusal("1,2,3,4"), "the order: line 1: OFFSET[,LENGTH[,WEIGHT]] is accepted");
  EXPECT_EQ(refusal("0,0"), "the order: line 1: a length of 0 names nothing");
  EXPECT_EQ(refusal("0,1,-1"), "the order: line 1: \"-1\" is not a number from 0 to 1000000000");
  EXPECT_EQ(refusal("-5"), refusal("-5,1"));
  for (const char* bad : {",", "1,", ",1", "1,,1", "1;2", "1 2", "0x10", "99999999999999999999"})
    EXPECT_EQ(refusal(bad).substr(0, 18), "the order: line 1:") << bad;
  EXPECT_LT(refusal(std::string(1 << 20, 'x')).size(), 100U);
}

TEST(PullList, MoreLinesThanAnybodyNeedsAreRefused) {
  std::string text;
  for (std::size_t i = 0; i <= PullOrder::kMostRanges; ++i) text += "1\n";
  EXPECT_EQ(refusal(text), "the order: line 1048577: more than 1048576 ranges");
}

TEST(PullRecording, FirstReadingsInOrderNeighboursJoined) {
  PullRecording recording(1 * GiB);
  recording.touched(8192, 4096);
  recording.touched(12288, 100);   // adjoins, and stands for its block
  recording.touched(0, 1);
  recording.touched(8192, 8192);   // known
  recording.touched(4096, 16384);  // half known: what is new adjoins what is there
  EXPECT_EQ(recording.text(), "# what was read, in order: offset,length in a region of 1073741824 bytes\n"
                              "8192,12288\n0,8192\n");
}

TEST(PullRecording, SeveralReadersGetARangeEach) {
  PullRecording recording(1 * GiB);
  for (std::uint64_t i = 0; i < 64; ++i) {
    recording.touched(i * 4096, 4096);
    recording.touched(256 * MiB + i * 4096, 4096);
  }
  const PullList list = parse_pull_list(recording.text(), "recording", 1 * GiB);
  EXPECT_EQ(list.ranges, (Ranges{{0, 256 * KiB}, {256 * MiB, 256 * KiB}}));
}

TEST(PullRecording, EndsWithTheRegion) {
  PullRecording recording(5000);
  recording.touched(4990, ~0ULL);
  recording.touched(5000, 1);
  recording.touched(~0ULL, ~0ULL);
  recording.touched(17, 0);
  EXPECT_EQ(parse_pull_list(recording.text(), "recording", 5000).ranges, (Ranges{{4096, 904}}));
}

class WholeFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "r3-whole-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) { return directory_ + "/" + name; }
  std::size_t files() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_)) ++count;
    return count;
  }
  std::string directory_;
};

TEST_F(WholeFile, ReplacesOrKeeps) {
  write_whole_file(path("a"), "old", 0640, Existing::keep);
  EXPECT_THROW(write_whole_file(path("a"), "new", 0640, Existing::keep), std::system_error);
  EXPECT_EQ(read_small_file(path("a")), "old");
  std::filesystem::create_symlink("a", path("link"));
  write_whole_file(path("link"), "new", 0640, Existing::replace);
  EXPECT_EQ(read_small_file(path("a")), "new");
  EXPECT_TRUE(std::filesystem::is_symlink(path("link")));
  EXPECT_EQ(files(), 2U);
}

TEST_F(WholeFile, NeverTurnsSomethingElseIntoAFile) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_THROW(write_whole_file(path("fifo"), "x", 0600, Existing::replace), std::system_error);
  EXPECT_THROW(check_whole_file(path("fifo")), std::system_error);
  EXPECT_THROW(check_whole_file(directory_), std::system_error);
  EXPECT_THROW(check_whole_file(path("no/such/directory")), std::system_error);
  check_whole_file(path("fresh"));
  EXPECT_EQ(files(), 1U);
}

TEST_F(WholeFile, ARecordingIsReadBack) {
  PullRecording recording(1 * MiB);
  recording.touched(100 * KiB, 1);
  recording.save(path("order"));
  EXPECT_EQ(read_pull_list(path("order"), 1 * MiB).ranges, (Ranges{{100 * KiB, 4 * KiB}}));
}

}  // namespace
}  // namespace test
}  // namespace r3
