// SPDX-License-Identifier: Apache-2.0
// A region on a tape: the conformance suite on a tape in a file; opened again, copied, exchanged, in its own order.
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/chunked.hpp"
#include "tests/unit/tape_fixture.hpp"
#include "tools/regions/reel/tape_file.hpp"

namespace {

using namespace r3;
using namespace r3::test;

constexpr auto kChunk = kTapeChunk;

template <std::uint32_t block>
BackendUnderTest make_tape(std::uint64_t size) {
  auto directory = std::make_shared<TemporaryDirectory>();
  const auto choice = choice_of(directory->path() + "/tape", size, block);
  return {std::make_unique<Chunked>(open_tape_region(choice), kChunk), directory};
}

INSTANTIATE_TEST_SUITE_P(Tape, BackendSuite,
                         testing::Values(BackendCase{.name = "variable", .make = make_tape<0>, .steps = 300},
                                         BackendCase{.name = "fixed", .make = make_tape<512>, .steps = 300}),
                         case_name);

TEST_F(TapeTest, KeepsItsBytesWhenItIsOpenedAgain) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->write_at(block_of(2), 3 * kChunk);
    region->flush();
    region->write_at(block_of(9), 3 * kChunk);  // not flushed
  }
  const auto region = open_tape_region(choice());
  EXPECT_EQ(read_bytes(*region, 3 * kChunk, kChunk), block_of(2));
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
  EXPECT_EQ(read_bytes(*region, kChunk, kChunk), block_of(0));
  EXPECT_EQ(region->numbers().blocks, 2U);
}

TEST_F(TapeTest, AnotherTapeOrAShorterOneIsRefused) {
  open_tape_region(choice())->flush();
  const auto other = choice_of(path("other"), 16 * kChunk);
  open_tape_region(other);
  auto mixed = choice();
  mixed.index = index_path(other);
  EXPECT_EQ(error_of([&] { open_tape_region(mixed); }), ESTALE);
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
  }
  std::filesystem::resize_file(choice().path, offset_at(3));
  EXPECT_EQ(error_of([&] { open_tape_region(choice()); }), ESTALE);
  EXPECT_EQ(rebuild_index(choice()).cut_off, true);
  EXPECT_EQ(read_bytes(*open_tape_region(choice()), 0, kChunk), block_of(0));
}

TEST_F(TapeTest, NothingOfOthersIsOverwritten) {
  {
    TapeFile tape(choice().path, {.create = true});
    tape.write(block_of(1));
  }
  EXPECT_EQ(error_of([&] { open_tape_region(choice()); }), EEXIST);
  auto forced = choice();
  forced.force = true;
  {
    const auto region = open_tape_region(forced);
    region->write_at(block_of(1), 0);
    region->flush();
  }
  EXPECT_EQ(read_bytes(*open_tape_region(forced), 0, kChunk), block_of(1));  // ours stays
  auto larger = choice();
  *larger.size *= 2;
  EXPECT_THROW(open_tape_region(larger), std::invalid_argument);
}

TEST_F(TapeTest, OnlyOneProcessHasATape) {
  const auto region = open_tape_region(choice());
  EXPECT_EQ(error_of([&] { open_tape_region(choice()); }), EBUSY);
}

TEST_F(TapeTest, ACopyHasWhatCountsAndNothingUntilItIsWhole) {
  {
    const auto region = open_tape_region(choice(64));
    for (unsigned round = 1; round < 4; ++round) {
      for (unsigned i = 0; i < 20; ++i) region->write_at(block_of(round * 20 + i), i * kChunk);
      region->flush();
    }
    EXPECT_EQ(region->numbers().dead, 40U);
  }
  const auto from = choice(64);
  auto to = choice_of(path("copy"), 0, 512);
  to.size.reset();
  EXPECT_EQ(error_of([&] { copy_tape(from, to, false, [](const TapeCopied& so) { return so.blocks < 10; }); }), ECANCELED);
  EXPECT_EQ(error_of([&] { open_tape_region(to); }), ESTALE);
  EXPECT_EQ(error_of([&] { rebuild_index(to); }), ESTALE);
  to.force = true;
  EXPECT_EQ(copy_tape(from, to, false, [](const TapeCopied&) { return true; }).blocks, 20U);
  to.force = false;
  rebuild_index(to);
  const auto region = open_tape_region(to);
  EXPECT_EQ(region->numbers().dead, 0U);
  EXPECT_EQ(region->label().region, open_tape_region(from)->label().region);
  for (unsigned i = 0; i < 20; ++i) EXPECT_EQ(read_bytes(*region, i * kChunk, kChunk), block_of(60 + i));
  EXPECT_EQ(read_bytes(*region, 20 * kChunk, kChunk), block_of(0));
}

TEST_F(TapeTest, AWriteProtectedTapeIsReadOnly) {
  {
    const auto region = open_tape_region(choice());
    region->write_at(block_of(1), 0);
    region->flush();
  }
  auto wanted = choice();
  wanted.read_only = true;
  const auto region = open_tape_region(wanted);
  EXPECT_TRUE(region->read_only());
  EXPECT_EQ(read_bytes(*region, 0, kChunk), block_of(1));
  EXPECT_EQ(error_of([&] { region->write_at(block_of(1), 0); }), EPERM);
}

TEST_F(TapeTest, ReadsInTheOrderOfTheTape) {
  const auto region = open_tape_region(choice());
  for (const unsigned i : {5, 6, 2, 9}) region->write_at(block_of(1), i * kChunk);
  region->flush();
  region->write_at(block_of(2), 6 * kChunk);
  region->flush();
  const std::vector<PullRange> order = {{5 * kChunk, kChunk}, {2 * kChunk, kChunk}, {9 * kChunk, kChunk}, {6 * kChunk, kChunk}};
  EXPECT_EQ(region->in_tape_order(), order);
  const auto before = region->numbers().moves;
  read_bytes(*region, 0, 16 * kChunk);
  EXPECT_LE(region->numbers().moves - before, 3U);  // to 5, over what does not count any more, over the filemark
}

TEST_F(TapeTest, KnowsTheHashOfWhatItHas) {
  const auto region = open_tape_region(choice());
  region->write_at(block_of(1), 0);
  EXPECT_EQ(region->hash_of(0, kChunk), tape_hash(block_of(1)));
  EXPECT_EQ(region->hash_of(kChunk, kChunk), tape_hash(block_of(0)));
  EXPECT_EQ(region->hash_of(0, 100), std::nullopt);
}

TEST(Turns, ReadsGoInTheOrderOfTheTape) {
  Turns turns;
  std::vector<std::uint64_t> order;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::atomic<unsigned> begun{0};
  {
    Turns::Turn holder(turns, Turns::Kind::read, 0);
    holder.ends_at(50, {});
    for (const std::uint64_t position : {90, 10, 70, 30, 60})
      threads.emplace_back([&, position] {
        ++begun;
        Turns::Turn turn(turns, Turns::Kind::read, position);
        turn.ends_at(position, {});
        const std::lock_guard lock(mutex);
        order.push_back(position);
      });
    while (begun < threads.size() || turns.waiting() < threads.size()) std::this_thread::yield();
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(order, (std::vector<std::uint64_t>{60, 70, 90, 10, 30}));
}

TEST(Turns, NobodyWaitsAfterTheEnd) {
  Turns turns;
  int error = 0;
  std::thread waits;
  {
    const Turns::Turn holder(turns, Turns::Kind::read, 0);
    waits = std::thread([&] { error = error_of([&] { Turns::Turn(turns, Turns::Kind::write); }); });
    while (turns.waiting() < 1) std::this_thread::yield();
    turns.abandon();
    waits.join();
  }
  EXPECT_EQ(error, ESHUTDOWN);
}

TEST(TapeLabel, IsATarArchiveThatReadsBack) {
  const TapeLabel label{1, 2, 3'000'000'000'000, 262144, 65536, 7};
  const auto bytes = encode_label(label);
  EXPECT_EQ(bytes.size(), 65536U);
  EXPECT_EQ(decode_label(bytes), label);
  EXPECT_EQ(decode_label(ConstBytes(bytes).first(1024)), label);
  auto bad = bytes;
  bad[600] ^= std::byte{1};
  EXPECT_EQ(decode_label(bad), std::nullopt);
}

}  // namespace
