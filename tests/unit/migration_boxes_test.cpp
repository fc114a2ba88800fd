// SPDX-License-Identifier: Apache-2.0
// The decorators that a migration is made of: Tracked, Lockable, Swap.
#include <future>
#include <random>
#include <thread>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/lockable.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/swap.hpp"
#include "libcommon/storage/tracked.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {
namespace {

using namespace std::chrono_literals;

template <class Box>
BackendUnderTest boxed(std::uint64_t size) {
  auto memory = std::make_shared<MemoryBackend>(size);
  return {std::make_unique<Box>(*memory), memory};
}

BackendUnderTest tracked_twice(std::uint64_t size) {
  auto memory = std::make_shared<MemoryBackend>(size);
  auto tracked = std::make_unique<Tracked>(*memory);
  tracked->track();
  tracked->track();
  return {std::move(tracked), memory};
}

// The backend below is exchanged all the time for another face of the same memory.
BackendUnderTest swapped_all_the_time(std::uint64_t size) {
  struct Kept {
    explicit Kept(std::uint64_t bytes) : memory(bytes), other(memory) {}
    MemoryBackend memory;
    Decorator other;
    TaskGroup threads;
  };
  auto kept = std::make_shared<Kept>(size);
  auto swap = std::make_shared<Swap>(kept->memory);
  kept->threads.spawn([swap, raw = kept.get()] {
    for (bool odd = false; !raw->threads.stop().wait_for(0ms); odd = !odd)
      swap->replace(odd ? static_cast<Backend&>(raw->memory) : raw->other);
  });
  return {std::make_unique<Decorator>(*swap), std::make_shared<std::pair<std::shared_ptr<Swap>, std::shared_ptr<Kept>>>(swap, kept)};
}

INSTANTIATE_TEST_SUITE_P(
    MigrationBoxes, BackendSuite,
    testing::Values(BackendCase{"tracked", boxed<Tracked>}, BackendCase{"tracked_twice", tracked_twice},
                    BackendCase{"lockable", boxed<Lockable>}, BackendCase{"swap", boxed<Swap>},
                    BackendCase{"swapped_all_the_time", swapped_all_the_time, nullptr, 1, kSteps / 5}),
    case_name);

TEST(Tracked, TellsTheBlocksThatWereWrittenSinceLastTime) {
  MemoryBackend memory(1 * MiB + 100);
  Tracked tracked(memory);
  tracked.write_at(filled(10, 1), 0);  // before anybody asked
  const unsigned map = tracked.track();
  EXPECT_TRUE(tracked.take(map).empty());
  tracked.write_at(filled(2, 1), 4095);                  // the end of one block, the start of the next
  tracked.write_at(filled(1, 1), 256 * KiB - 1);         // the last of a group
  EXPECT_TRUE(tracked.try_write_at(filled(1, 1), 256 * KiB));
  tracked.zero_at(512 * KiB, 256 * KiB);
  tracked.discard_at(1 * MiB, 100);                      // the short block at the end
  tracked.write_at({}, 300 * KiB);                       // nothing
  EXPECT_EQ(tracked.written(map), 2u + 1 + 1 + 64 + 1);
  const WrittenBlocks expected{{0, 3ULL | 1ULL << 63}, {1, 1}, {2, ~0ULL}, {4, 1}};
  EXPECT_EQ(tracked.take(map), expected);
  EXPECT_TRUE(tracked.take(map).empty());
}

TEST(Tracked, EveryMapIsOnesOwn) {
  MemoryBackend memory(1 * MiB);
  Tracked tracked(memory);
  const unsigned one = tracked.track();
  tracked.write_at(filled(1, 1), 0);
  const unsigned two = tracked.track();
  tracked.write_at(filled(1, 1), 8192);
  EXPECT_EQ(tracked.take(two), (WrittenBlocks{{0, 4}}));
  EXPECT_EQ(tracked.take(one), (WrittenBlocks{{0, 5}}));
  tracked.untrack(one);
  tracked.write_at(filled(1, 1), 0);
  EXPECT_EQ(tracked.track(), one);  // used again, and empty
  EXPECT_TRUE(tracked.take(one).empty());
}

TEST(Tracked, HasNoMoreMapsThanItSays) {
  MemoryBackend memory(4096);
  Tracked tracked(memory);
  for (unsigned i = 0; i < Tracked::kMostMaps; ++i) tracked.track();
  EXPECT_EQ(error_of([&] { tracked.track(); }), EBUSY);
  tracked.untrack(3);
  EXPECT_EQ(tracked.track(), 3u);
}

TEST(Tracked, AFailedWriteCountsAsOne) {
  MemoryBackend memory(64 * KiB);
  CountingBackend failing(std::make_unique<MemoryBackend>(64 * KiB));
  class Failing : public Decorator {
   public:
    using Decorator::Decorator;
    void write_at(ConstBytes, std::uint64_t) override { throw std::system_error(EIO, std::generic_category()); }
  } broken(memory);
  Tracked tracked(broken);
  const unsigned map = tracked.track();
  EXPECT_EQ(error_of([&] { tracked.write_at(filled(1, 1), 4096); }), EIO);
  EXPECT_EQ(tracked.take(map), (WrittenBlocks{{0, 2}}));
  EXPECT_EQ(error_of([&] { tracked.write_at(filled(1, 1), 64 * KiB); }), ENOSPC);
  EXPECT_TRUE(tracked.take(map).empty());
}

TEST(Tracked, MergesTwoSets) {
  WrittenBlocks into{{1, 1}, {3, 6}};
  merge_blocks(into, {{0, 8}, {3, 1}, {9, 2}});
  EXPECT_EQ(into, (WrittenBlocks{{0, 8}, {1, 1}, {3, 7}, {9, 2}}));
  EXPECT_EQ(count_blocks(into), 6u);
}

// A reader that takes the map and then copies what it says ends with the same bytes, whatever the writers do.
TEST(Tracked, NoWriteIsMissedWhileOthersWrite) {
  constexpr std::uint64_t kSize = 2 * MiB;
  MemoryBackend memory(kSize);
  MemoryBackend copy(kSize);
  Tracked tracked(memory);
  const unsigned map = tracked.track();
  TaskGroup writers;
  for (unsigned n = 0; n < 2; ++n)
    writers.spawn([&, n] {
      std::mt19937_64 random(n);
      for (unsigned i = 0; i < kSteps * 20; ++i)
        tracked.write_at(filled(8, static_cast<int>(random())), (random() % (kSize / 16) * 2 + n) * 8);
    });
  const auto copy_taken = [&] {
    for (const WrittenGroup& one : tracked.take(map))
      for (unsigned block = 0; block < 64; ++block)
        if (one.blocks >> block & 1) {
          const auto at = one.group * kTrackedGroup + block * kTrackedBlock;
          copy.write_at(read_bytes(memory, at, kTrackedBlock), at);
        }
  };
  for (int i = 0; i < 50; ++i) copy_taken();
  writers.join();
  copy_taken();
  EXPECT_TRUE(std::ranges::equal(copy.bytes(), memory.bytes()));
}

TEST(Lockable, HoldsEverythingBackUntilItIsOpened) {
  MemoryBackend memory(64 * KiB);
  Lockable lockable(memory, Lockable::First::closed);
  std::byte byte{};
  EXPECT_FALSE(lockable.try_read_at({&byte, 1}, 0));
  EXPECT_FALSE(lockable.try_write_at(filled(1, 1), 0));
  EXPECT_TRUE(lockable.borrow(0, 1).empty());
  lockable.flush();
  auto write = std::async(std::launch::async, [&] { lockable.write_at(filled(4, 7), 0); });
  auto read = std::async(std::launch::async, [&] { return read_bytes(lockable, 8, 4); });
  for (auto rings = lockable.bell().rings(); lockable.waiting_changes() == 0; rings = lockable.bell().rings())
    lockable.bell().wait(rings);
  EXPECT_EQ(memory.bytes()[0], std::byte{0});
  lockable.open();
  write.get();
  read.get();
  EXPECT_EQ(memory.bytes()[0], std::byte{7});
  EXPECT_EQ(lockable.waiting_changes(), 0u);
  EXPECT_TRUE(lockable.try_read_at({&byte, 1}, 0));
}

TEST(Lockable, WhatIsUnderWayEndsBeforeItIsClosed) {
  MemoryBackend memory(64 * KiB);
  Lockable lockable(memory);
  std::atomic<bool> closed{false};
  TaskGroup writers;
  for (int n = 1; n <= 3; ++n)
    writers.spawn([&, n] {
      for (unsigned i = 0; i < kSteps * 4; ++i) lockable.write_at(filled(4096, n), 0);
    });
  for (int i = 0; i < 20; ++i) {
    lockable.close();
    const std::vector<std::byte> before(memory.bytes().begin(), memory.bytes().end());
    std::this_thread::yield();
    EXPECT_TRUE(std::ranges::equal(before, memory.bytes()));
    lockable.open();
  }
  writers.join();
}

TEST(Lockable, RefusesWhoWaitsAndWhoComes) {
  MemoryBackend memory(4096);
  Lockable lockable(memory, Lockable::First::closed);
  auto write = std::async(std::launch::async,
                          [&] { return error_of([&] { lockable.write_at(filled(1, 1), 0); }); });
  for (auto rings = lockable.bell().rings(); lockable.waiting_changes() == 0; rings = lockable.bell().rings())
    lockable.bell().wait(rings);
  lockable.abandon();
  EXPECT_EQ(write.get(), ESHUTDOWN);
  EXPECT_EQ(error_of([&] { read_bytes(lockable, 0, 1); }), ESHUTDOWN);
  EXPECT_EQ(lockable.waiting_changes(), 0u);
  lockable.open();
  EXPECT_EQ(error_of([&] { lockable.write_at(filled(1, 1), 0); }), 0);
}

TEST(Swap, NobodyUsesTheOldOneAfterwards) {
  MemoryBackend one(64 * KiB), two(64 * KiB);
  Swap swap(one);
  swap.write_at(filled(1, 1), 0);
  swap.replace(two);
  swap.write_at(filled(1, 2), 0);
  EXPECT_EQ(one.bytes()[0], std::byte{1});
  EXPECT_EQ(two.bytes()[0], std::byte{2});
  MemoryBackend other(4096);
  EXPECT_EQ(error_of([&] { swap.replace(other); }), EINVAL);
}

}  // namespace
}  // namespace r3::test
