// SPDX-License-Identifier: Apache-2.0
// What a pager brings, what it does when it cannot, and what it makes of memory that is given back or moved.
#include <sys/mman.h>

#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/device/follow_source.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/paged.hpp"

namespace r3::test {

namespace {

TEST_F(PagerTest, EveryByteIsTheRegions) {
  PatternBackend region(300 * P + 100);
  Paged paged(region, 301);
  expect_pattern(paged, 300 * P + 96);
  for (std::uint64_t at = 300 * P + 100; at < 301 * P; ++at) ASSERT_EQ(paged.bytes()[at], std::byte{0});
  paged.stop();
  EXPECT_EQ(paged.end, Pager::End::stopped);
  EXPECT_EQ(paged.memory->present(), 301 * P);
}

TEST_F(PagerTest, TouchedBackwardsAndInChunks) {
  PatternBackend region(256 * P);
  PagerOptions options;
  options.chunk = 16 * P;
  Paged paged(region, 256, options);
  for (std::uint64_t page = 256; page-- > 0;) ASSERT_EQ(word(paged.bytes() + page * P), page * P);
  expect_pattern(paged, 256 * P);
  EXPECT_LE(paged.pager->counters().faults, 64u);
}

TEST_F(PagerTest, TheBackgroundBringsTheRestWithoutAFault) {
  PatternBackend region(3 * MiB);
  FollowSource order(region.size());
  PagerOptions options;
  options.order = &order;
  Paged paged(region, 3 * MiB / P, options);
  while (paged.memory->present() < 3 * MiB) std::this_thread::yield();
  expect_pattern(paged, 3 * MiB);
  EXPECT_EQ(paged.pager->counters().faults, 0u);
}

TEST_F(PagerTest, ManyThreadsGetTheSameBytesFromARegionThatWaits) {
  PassingBackend region(std::make_unique<PatternBackend>(512 * P));  // never answers without waiting
  FollowSource order(region.size());
  PagerOptions options;
  options.order = &order;
  Paged paged(region, 512, options);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uint64_t i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (std::uint64_t page = 0; page < 512; ++page) {
        const auto at = (page * 37 + i * 64) % 512 * P;
        if (word(paged.bytes() + at) != at) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(PagerTest, APageOnItsWayIsNotAskedForTwice) {
  auto counting = std::make_unique<CountingBackend>(std::make_unique<PatternBackend>(64 * P));
  auto* counts = counting.get();
  GatedBackend region(std::move(counting));
  region.shut(Call::read);
  Paged paged(region, 64);
  std::thread one([&] { touch(paged.bytes()); });
  region.wait_for_waiting(1);
  std::thread two([&] { touch(paged.bytes() + 8); });
  while (paged.pager->counters().faults < 2) std::this_thread::yield();
  region.open();
  one.join();
  two.join();
  EXPECT_EQ(counts->calls(Call::read), 1u);
}

TEST_F(PagerTest, APageThatFailsRaisesSigbusThereAndNowhereElse) {
  FaultyBackend region(std::make_unique<PatternBackend>(64 * P));
  PagerOptions options;
  options.chunk = 8 * P;
  std::atomic<std::uint64_t> poisoned{0};
  std::atomic<int> error{0};
  options.on_poisoned = [&](std::uint64_t, std::uint64_t offset, int why, bool) { poisoned = offset, error = why; };
  Paged paged(region, 64, options);
  region.fail_from(Call::read, 1, EIO, 2);  // the chunk, and the page by itself
  EXPECT_FALSE(touch(paged.bytes() + 11 * P + 5));
  EXPECT_EQ(round_down(reinterpret_cast<std::uint64_t>(failed_at), P), paged.address() + 11 * P);
  while (error == 0) std::this_thread::yield();  // it is told right after the touch has failed
  EXPECT_EQ(poisoned, 11 * P);
  EXPECT_EQ(error, EIO);
  for (std::uint64_t page = 0; page < 64; ++page)
    if (page != 11) { ASSERT_EQ(word(paged.bytes() + page * P), page * P); }
  EXPECT_FALSE(touch(paged.bytes() + 11 * P));
}

TEST_F(PagerTest, AChunkThatFailsOnceIsTriedPageByPage) {
  FaultyBackend region(std::make_unique<PatternBackend>(64 * P));
  PagerOptions options;
  options.chunk = 8 * P;
  Paged paged(region, 64, options);
  region.fail_from(Call::read, 1, EIO, 1);
  expect_pattern(paged, 64 * P);
}

// Kernels that cannot poison: the thread that waits is told, and does not wait any longer.
TEST_F(PagerTest, WithoutPoisonTheSignalComesFromThePager) {
  FaultyBackend region(std::make_unique<PatternBackend>(8 * P));
  PagerOptions options;
  options.use_poison = false;
  options.process = ::getpid();
  std::atomic<bool> signalled{false};
  options.on_poisoned = [&](std::uint64_t, std::uint64_t, int, bool how) { signalled = how; };
  Paged paged(region, 8, options, UFFD_FEATURE_THREAD_ID);
  region.fail_from(Call::read, 1, EIO, 2);
  EXPECT_FALSE(touch(paged.bytes() + 3 * P));
  EXPECT_EQ(round_down(reinterpret_cast<std::uint64_t>(failed_at), P), paged.address() + 3 * P);
  EXPECT_TRUE(signalled);
  EXPECT_EQ(word(paged.bytes() + 3 * P), 3 * P);  // the region is well again
}

TEST_F(PagerTest, ZeroesAreZeroesReadOrNot) {
  ZeroBackend region(512 * P);
  Paged paged(region, 512);
  for (std::uint64_t page = 0; page < 512; ++page) ASSERT_EQ(paged.bytes()[page * P], std::byte{0});
  while (paged.memory->present() < 512 * P) std::this_thread::yield();
  paged.bytes()[5 * P] = std::byte{7};  // an ordinary page again
  EXPECT_EQ(paged.bytes()[5 * P], std::byte{7});
  EXPECT_EQ(paged.bytes()[6 * P], std::byte{0});
}

TEST_F(PagerTest, RemovedPagesReadAsZeroesMovedOnesStayThemselves) {
  PatternBackend region(64 * P);
  Paged paged(region, 64, {}, UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP);
  expect_pattern(paged, 32 * P);
  ASSERT_EQ(::madvise(paged.bytes() + 4 * P, 4 * P, MADV_DONTNEED), 0);
  ASSERT_EQ(::madvise(paged.bytes() + 60 * P, P, MADV_DONTNEED), 0);  // before it came at all
  for (const std::uint64_t page : {4, 7, 60}) EXPECT_EQ(touch(paged.bytes() + page * P + 7), std::byte{0});
  EXPECT_EQ(word(paged.bytes() + 8 * P), 8 * P);
  // 8 pages that are there and 8 that are not.
  const Mapping target = Mapping::anonymous(16 * P);
  std::byte* const moved = target.bytes().data();
  ASSERT_EQ(::mremap(paged.bytes() + 24 * P, 16 * P, 16 * P, MREMAP_MAYMOVE | MREMAP_FIXED, moved), moved);
  for (std::uint64_t page = 0; page < 16; ++page) ASSERT_EQ(word(moved + page * P), (24 + page) * P);
  ASSERT_EQ(::munmap(moved, 4 * P), 0);
  EXPECT_EQ(word(paged.bytes() + 50 * P), 50 * P);
}

TEST_F(PagerTest, WithoutTheEventRemovedPagesComeAgain) {
  PatternBackend region(8 * P);
  Paged paged(region, 8);
  expect_pattern(paged, 8 * P);
  ASSERT_EQ(::madvise(paged.bytes() + 2 * P, P, MADV_DONTNEED), 0);
  EXPECT_EQ(word(paged.bytes() + 2 * P), 2 * P);
}

// The file behind the memory has some pages already: they are mapped, not brought.
TEST_F(PagerTest, PagesThatTheFileHasAreMappedWithoutTheRegion) {
  constexpr std::uint64_t kPages = 64;
  const Fd file(check(::memfd_create("pages", MFD_CLOEXEC), "memfd_create"));
  check(::ftruncate(file.get(), kPages * P), "ftruncate");
  const Mapping ours = Mapping::of_file(file.get(), 0, kPages * P, true);
  const Mapping theirs = Mapping::of_file(file.get(), 0, kPages * P, true);
  auto opened = open_uffd(UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_MISSING_SHMEM);
  const auto address = reinterpret_cast<std::uint64_t>(theirs.bytes().data());
  uffdio_register request{{address, kPages * P}, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR, 0};
  check(::ioctl(opened.descriptor.get(), UFFDIO_REGISTER, &request), "register");
  for (std::uint64_t page = 8; page < 24; ++page) std::memset(&ours.bytes()[page * P], 0xAB, P);
  CountingBackend region(std::make_unique<PatternBackend>(kPages * P));
  ClientMemory memory(duplicate(opened.descriptor.get()), {{address, kPages * P, 0, P}}, false);
  Pager pager(region, memory, {});
  Stop stop;
  std::thread thread([&] { pager.run(stop, -1); });
  for (std::uint64_t page = kPages; page-- > 0;) {
    const bool filled = page >= 8 && page < 24;
    EXPECT_EQ(word(&theirs.bytes()[page * P]), filled ? 0xABABABABABABABAB : page * P) << page;
  }
  EXPECT_GT(pager.counters().minor_faults, 0u);
  EXPECT_EQ(region.bytes(Call::read), (kPages - 16) * P);
  stop.request();
  thread.join();
}

TEST_F(PagerTest, WhatWasNotTouchedIsPoisonedForTheEnd) {
  PatternBackend region(64 * P);
  PagerOptions options;
  options.most = P;
  Paged paged(region, 64, options);
  EXPECT_TRUE(touch(paged.bytes()));
  paged.stop();
  ASSERT_TRUE(paged.memory->poison_absent());
  EXPECT_TRUE(touch(paged.bytes()));
  EXPECT_FALSE(touch(paged.bytes() + 63 * P));
}

}  // namespace

}  // namespace r3::test
