// SPDX-License-Identifier: Apache-2.0
// What the index of a tape may claim when the tape fails at any operation, is cut, full or damaged, and when it
// is rebuilt from that.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <random>

#include "libcommon/base/error.hpp"
#include "tests/unit/tape_fixture.hpp"

namespace {

using namespace r3;
using namespace r3::test;

constexpr auto kChunk = kTapeChunk;

// A tape that fails at the n-th operation, and from then on if it was pulled out.
struct Fault {
  unsigned at = 0, count = 0;
  bool for_good = false, late = false;  // late: the operation was done
  int error = EIO;
  bool now() {
    ++count;
    return count == at || (for_good && at != 0 && count > at);
  }
};

class FaultyTape final : public Tape {
 public:
  FaultyTape(std::unique_ptr<Tape> below, Fault& fault) : Tape(below->name()), below_(std::move(below)), fault_(fault) {
    block_ = below_->block();
  }
  bool read_only() const override { return below_->read_only(); }
  Got read(Bytes into) override {
    return with([&] { return below_->read(into); });
  }
  void write(ConstBytes bytes) override {
    with([&] { return below_->write(bytes), 0; });
  }
  void write_filemark() override {
    with([&] { return below_->write_filemark(), 0; });
  }
  void seek(std::uint64_t position) override {
    with([&] { return below_->seek(position), 0; });
  }
  std::uint64_t seek_end() override {
    return with([&] { return below_->seek_end(); });
  }
  void set_block(std::uint32_t size) override {
    below_->set_block(size);
    Tape::set_block(size);
  }

 private:
  template <class Action>
  std::invoke_result_t<Action> with(Action action) {
    const bool fails = fault_.now();
    if (fails && !fault_.late) fail(fault_.error, "the drive");
    auto result = action();
    if (fails) fail(fault_.error, "the drive");
    return result;
  }
  std::unique_ptr<Tape> below_;
  Fault& fault_;
};

// A drive that counts only so far.
class ShortTape final : public Tape {
 public:
  explicit ShortTape(std::unique_ptr<Tape> below) : Tape(below->name()), below_(std::move(below)) {
    block_ = below_->block();
  }
  bool read_only() const override { return false; }
  Got read(Bytes into) override { return below_->read(into); }
  void write(ConstBytes bytes) override { below_->write(bytes); }
  void write_filemark() override { below_->write_filemark(); }
  void seek(std::uint64_t position) override {
    if (position > furthest()) fail(EOVERFLOW, name());
    below_->seek(position);
  }
  std::uint64_t furthest() const override { return 12; }
  std::uint64_t seek_end() override { return below_->seek_end(); }
  void set_block(std::uint32_t size) override {
    below_->set_block(size);
    Tape::set_block(size);
  }

 private:
  std::unique_ptr<Tape> below_;
};

std::unique_ptr<TapeRegion> open_faulty(const TapeChoice& choice, Fault& fault) {
  auto reel = std::make_unique<Reel>(std::make_unique<FaultyTape>(open_tape(choice), fault),
                                     std::make_unique<TapeIndex>(index_path(choice), std::nullopt));
  reel->settle();
  return std::make_unique<TapeRegion>(std::move(reel));
}

std::map<std::uint64_t, TapeHash> entries_of(const TapeChoice& choice) {
  std::map<std::uint64_t, TapeHash> all;
  TapeIndex(index_path(choice), std::nullopt).each([&](std::uint64_t block, const TapeEntry& entry) {
    if (entry.damaged == 0) all[block] = entry.hash;
  });
  return all;
}

// A tape pulled out, or a drive that fails, at any operation: what was flushed is there, what the index has can be
// read, and the tape alone tells the same.
void fails_anywhere(const std::string& directory, bool for_good, bool late, std::uint32_t tape_block) {
  for (unsigned at = 1;; ++at) {
    const auto choice = choice_of(directory + "/tape" + std::to_string(at), 8 * kChunk, tape_block);
    open_tape_region(choice);
    std::vector<std::vector<unsigned>> may(8, {0});  // the values that a block may have
    Fault fault{at, 0, for_good, late, EIO};
    std::mt19937 random(at);
    try {
      const auto region = open_faulty(choice, fault);
      for (unsigned step = 1; step < 40; ++step) {
        try {
          if (step % 7 == 0) {
            region->flush();
            for (auto& values : may) values = {values.back()};
          } else if (step % 5 == 0) {
            const auto block = random() % 8;
            const auto bytes = read_bytes(*region, block * kChunk, kChunk);
            ASSERT_EQ(bytes, block_of(may[block].back())) << "a wrong byte after a failure at operation " << at;
          } else {
            const auto block = random() % 8;
            may[block].push_back(step % 11 == 0 ? 0 : step);
            region->write_at(block_of(may[block].back()), block * kChunk);
          }
        } catch (const std::system_error&) {
        }
      }
    } catch (const std::system_error&) {
    }
    const bool over = fault.count < at;
    {
      const auto region = open_tape_region(choice);
      for (std::uint64_t block = 0; block < 8; ++block) {
        const auto bytes = read_bytes(*region, block * kChunk, kChunk);
        const auto value = std::to_integer<unsigned>(bytes[0]);
        ASSERT_EQ(bytes, block_of(value));
        ASSERT_NE(std::ranges::find(may[block], value), may[block].end())
            << "block " << block << " is " << value << " after a failure at operation " << at;
      }
    }
    const auto told = entries_of(choice);
    rebuild_index(choice);
    ASSERT_EQ(entries_of(choice), told) << "failure at operation " << at;
    if (over) break;
    std::filesystem::remove(choice.path);
  }
}

TEST_F(TapeTest, AnOperationThatFailsLosesNothing) { fails_anywhere(directory_.path(), false, false, 0); }
TEST_F(TapeTest, AnOperationThatWasDoneAndSaysItFailedLosesNothing) { fails_anywhere(directory_.path(), false, true, 0); }
TEST_F(TapeTest, ATapeThatIsPulledOutLosesNothing) { fails_anywhere(directory_.path(), true, false, 0); }
TEST_F(TapeTest, FixedBlocksThatFailLoseNothing) { fails_anywhere(directory_.path(), false, true, 1024); }

TEST_F(TapeTest, WhatFailedIsNotTakenForWrittenUntilItIs) {
  open_tape_region(choice());
  Fault fault;
  const auto region = open_faulty(choice(), fault);
  region->write_at(block_of(1), 0);
  fault.at = fault.count + 1;
  EXPECT_EQ(error_of([&] { region->write_at(block_of(2), kChunk); }), EIO);
  EXPECT_EQ(error_of([&] { region->flush(); }), EIO);
  EXPECT_EQ(error_of([&] { read_bytes(*region, 0, kChunk); }), EIO);
  region->write_at(block_of(1), 0);
  EXPECT_EQ(error_of([&] { region->flush(); }), EIO);
  region->write_at(block_of(2), kChunk);
  region->flush();
  EXPECT_EQ(read_bytes(*region, kChunk, kChunk), block_of(2));
}

TEST_F(TapeTest, TheEndOfTheMediumIsNoSpaceAndLosesNothing) {
  auto small = choice(64);
  small.capacity = 60'000;
  const auto region = open_tape_region(small);
  region->write_at(block_of(1), 0);
  region->flush();
  const auto fill = [&] {
    for (unsigned i = 0; i < 64; ++i) region->write_at(block_of(2), i * kChunk);
  };
  EXPECT_EQ(error_of(fill), ENOSPC);
  EXPECT_EQ(error_of([&] { region->flush(); }), ENOSPC);
  EXPECT_EQ(error_of([&] { region->write_at(block_of(3), 0); }), ENOSPC);
}

TEST_F(TapeTest, NothingIsWrittenWhereItCouldNotBeReadAgain) {
  open_tape_region(choice());
  auto reel = std::make_unique<Reel>(std::make_unique<ShortTape>(open_tape(choice())),
                                     std::make_unique<TapeIndex>(index_path(choice()), std::nullopt));
  reel->settle();
  TapeRegion region(std::move(reel));
  unsigned written = 0;
  const auto fill = [&] {
    for (unsigned i = 0; i < 16; ++i, ++written) {
      region.write_at(block_of(i + 1), i * kChunk);
      region.flush();
    }
  };
  EXPECT_EQ(error_of(fill), ENOSPC);
  ASSERT_GT(written, 0u);
  for (unsigned i = 0; i < written; ++i) EXPECT_EQ(read_bytes(region, i * kChunk, kChunk), block_of(i + 1));
}

TEST_F(TapeTest, WhatTheTapeHasBeyondTheIndexIsFound) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
  }
  std::filesystem::copy(choice().path + ".index", path("old"));
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(2), kChunk);
    region->write_at(block_of(0), 0);
    region->flush();
  }
  std::filesystem::rename(path("old"), choice().path + ".index");
  const auto region = open_tape_region(choice());
  EXPECT_EQ(read_bytes(*region, kChunk, kChunk), block_of(2));
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(0));
}

TEST_F(TapeTest, ATornTailIsTheEndOfTheTape) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
  }
  const auto end = std::filesystem::file_size(choice().path);
  for (const std::string& tail : {std::string(100, '\1'), std::string("\0\2\0\0abc", 7), std::string(1 << 20, '\0')}) {
    overwrite(end, tail);
    {
      const auto region = open_tape_region(choice());
      EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
      region->write_at(block_of(1), 0);
      region->flush();
      EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
    }
    open_tape_region(choice());
    EXPECT_LT(std::filesystem::file_size(choice().path), end + 20'000);
    rebuild_index(choice());
    std::filesystem::resize_file(choice().path, end);
    std::filesystem::remove(choice().path + ".index");
    rebuild_index(choice());
  }
}

TEST_F(TapeTest, ABadPlaceIsAnErrorThereAndNowhereElse) {
  {
    const auto region = open_tape_region(choice());
    for (unsigned i = 0; i < 6; ++i) region->write_at(block_of(i + 1), i * kChunk);
    region->flush();
  }
  spoil(4);  // label, filemark, blocks 0 and 1, block 2
  auto region = open_tape_region(choice());
  EXPECT_EQ(error_of([&] { read_bytes(*region, 2 * kChunk, kChunk); }), EIO);
  EXPECT_EQ(read_bytes(*region, 3 * kChunk, kChunk), block_of(4));
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
  region.reset();
  const auto found = rebuild_index(choice());
  EXPECT_EQ(found.unreadable, 1U);
  EXPECT_FALSE(found.cut_off);
  region = open_tape_region(choice());
  EXPECT_EQ(error_of([&] { read_bytes(*region, 2 * kChunk, kChunk); }), EIO);  // and no older bytes
  EXPECT_EQ(read_bytes(*region, 5 * kChunk, kChunk), block_of(6));
  region->write_at(block_of(7), 2 * kChunk);
  region->flush();
  EXPECT_EQ(read_bytes(*region, 2 * kChunk, kChunk), block_of(7));
}

TEST_F(TapeTest, RebuildNeedsToBeToldToForgetWhatNothingTellsOf) {
  {
    const auto region = open_tape_region(choice());
    for (unsigned i = 0; i < 8; ++i) region->write_at(block_of(i + 1), i * kChunk);
    region->flush();
  }
  for (std::uint64_t i = 3; i < 8; ++i) spoil(i);
  EXPECT_EQ(error_of([&] { rebuild_index(choice()); }), EIO);
  auto forced = choice();
  forced.force = true;
  const auto found = rebuild_index(forced);
  EXPECT_EQ(found.unreadable, 3U);
  EXPECT_EQ(found.unknown, 2U);
}

TEST_F(TapeTest, ALostCommitDoesNotLoseItsBatch) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
    region->write_at(block_of(2), kChunk);
    region->flush();
  }
  spoil(3);  // the first commit
  const auto found = rebuild_index(choice());
  EXPECT_EQ(found.batches, 2U);
  const auto region = open_tape_region(choice());
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
  EXPECT_EQ(read_bytes(*region, kChunk, kChunk), block_of(2));
}

TEST_F(TapeTest, RebuildWritesOverNothing) {
  {
    const auto region = open_tape_region(choice());
    for (unsigned i = 0; i < 2; ++i) {
      region->write_at(block_of(i + 1), i * kChunk);
      region->flush();
    }
  }
  // Without the filemark behind the first commit (label, mark, record, commit, mark, record, ...).
  const auto mark = offset_at(4);
  std::ifstream whole(choice().path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(whole)), {});
  bytes.erase(mark, 4);
  std::ofstream(choice().path, std::ios::binary | std::ios::trunc) << bytes;
  EXPECT_EQ(error_of([&] { rebuild_index(choice()); }), EIO);
  EXPECT_EQ(std::filesystem::file_size(choice().path), bytes.size());
  auto forced = choice();
  forced.force = true;
  rebuild_index(forced);
  const auto region = open_tape_region(choice());
  for (unsigned i = 0; i < 2; ++i) EXPECT_EQ(read_bytes(*region, i * kChunk, kChunk), block_of(i + 1));
}

TEST_F(TapeTest, ADamagedByteIsAnError) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
  }
  overwrite(offset_at(2) + 1000, "x");
  EXPECT_EQ(error_of([&] { read_bytes(*open_tape_region(choice()), 0, kChunk); }), EIO);
}

TEST_F(TapeTest, ACopyOfADamagedTapeNeedsToBeToldSo) {
  {
    const auto region = open_tape_region(choice());
    for (unsigned i = 0; i < 4; ++i) region->write_at(block_of(i + 1), i * kChunk);
    region->flush();
  }
  spoil(3);
  auto to = choice_of(path("copy"), 0);
  to.size.reset();
  EXPECT_EQ(error_of([&] { copy_tape(choice(), to, false, [](const TapeCopied&) { return true; }); }), EIO);
  to.force = true;
  EXPECT_EQ(copy_tape(choice(), to, true, [](const TapeCopied&) { return true; }).damaged, 1U);
  to.force = false;
  const auto region = open_tape_region(to);
  EXPECT_EQ(error_of([&] { read_bytes(*region, kChunk, kChunk); }), EIO);
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
}

}  // namespace
