// SPDX-License-Identifier: Apache-2.0
// A pager for memory of this very process: faults in user mode need no privilege.
#include "libcommon/device/pager.hpp"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/device/follow_source.hpp"
#include "libcommon/device/write_tracker.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {

namespace {

constexpr std::uint64_t P = 4096;

thread_local sigjmp_buf before_touch;
thread_local void* volatile failed_at;

void on_bus_error(int, siginfo_t* info, void*) {
  failed_at = info->si_code == SI_QUEUE ? info->si_value.sival_ptr : info->si_addr;
  ::siglongjmp(before_touch, 1);
}

std::uint64_t word(const std::byte* at) { return load_le<std::uint64_t>(at); }

// The byte there, or nothing and failed_at after a SIGBUS.
std::optional<std::byte> touch(const std::byte* at) {
  if (::sigsetjmp(before_touch, 1) != 0) return {};
  return *static_cast<const volatile std::byte*>(at);
}

// Memory of `pages` behind a pager, for as long as it lives.
class Paged {
 public:
  Paged(Backend& region, std::uint64_t pages, PagerOptions options = {}, std::uint64_t features = 0,
        bool track = false)
      : mapping_(Mapping::anonymous(pages * P)), opened_(open_uffd(features)) {
    struct sigaction action{};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, nullptr);
    uffdio_register request{{address(), pages * P}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (track) request.mode |= UFFDIO_REGISTER_MODE_WP;
    check(::ioctl(opened_.descriptor.get(), UFFDIO_REGISTER, &request), "register");
    memory = std::make_shared<ClientMemory>(duplicate(opened_.descriptor.get()),
                                            std::vector<UffdRange>{{address(), pages * P, 0, P}}, track);
    if (track) {
      tracker = std::make_unique<WriteTracker>(region, memory, ::getpid(), nullptr);
      options.on_write = [this](auto at) { return tracker->written(at); };
    }
    pager = std::make_unique<Pager>(region, *memory, std::move(options));
    thread_ = std::thread([this] { end = pager->run(stop_, -1); });
  }
  ~Paged() {
    stop();
    uffdio_range range{address(), mapping_.bytes().size()};
    ::ioctl(opened_.descriptor.get(), UFFDIO_UNREGISTER, &range);
  }
  void stop() {
    stop_.request();
    if (thread_.joinable()) thread_.join();
    pager.reset();
  }
  std::byte* bytes() { return mapping_.bytes().data(); }
  std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(mapping_.bytes().data()); }

  std::shared_ptr<ClientMemory> memory;
  std::unique_ptr<WriteTracker> tracker;
  std::unique_ptr<Pager> pager;
  Pager::End end = Pager::End::gone;

 private:
  Mapping mapping_;
  OpenedUffd opened_;
  Stop stop_;
  std::thread thread_;
};

class PagerTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      open_uffd(0);
    } catch (const std::system_error& error) {
      GTEST_SKIP() << error.what();
    }
  }
};

void expect_pattern(Paged& paged, std::uint64_t size) {
  for (std::uint64_t at = 0; at < size; at += 8) {
    if (word(paged.bytes() + at) != at) FAIL() << "at byte " << at;
  }
}

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

// Both ways of tracking writes: asynchronous where the kernel can, and synchronous.
class TrackerTest : public PagerTest, public testing::WithParamInterface<bool> {
  class Lent : public Backend {
   public:
    explicit Lent(Backend& below) : below_(below) {}
    std::uint64_t size() const override { return below_.size(); }
    void read_at(Bytes into, std::uint64_t offset) override { below_.read_at(into, offset); }
    void write_at(ConstBytes from, std::uint64_t offset) override { below_.write_at(from, offset); }
    void flush() override { below_.flush(); }

   private:
    Backend& below_;
  };

 protected:
  static constexpr std::uint64_t kPages = 256;

  void SetUp() override {
    PagerTest::SetUp();
    std::vector<std::byte> bytes(kPages * P);
    PatternBackend(bytes.size()).read_at(bytes, 0);
    region.write_at(bytes, 0);
    std::uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_EVENT_REMOVE;
    if (GetParam()) features |= uffd_kernel::kFeatureWriteAsync;
    try {
      paged = std::make_unique<Paged>(faulty, kPages, PagerOptions{}, features, true);
    } catch (const std::system_error& error) {
      GTEST_SKIP() << error.what();
    }
    if (GetParam() && !paged->tracker->asynchronous()) GTEST_SKIP() << "needs a kernel with asynchronous tracking";
  }
  void set(std::uint64_t page, unsigned value) { paged->bytes()[page * P + 9] = std::byte(value); }
  unsigned in_region(std::uint64_t page) {
    std::byte byte;
    region.read_at({&byte, 1}, page * P + 9);
    return std::to_integer<unsigned>(byte);
  }

  MemoryBackend region{kPages * P};
  FaultyBackend faulty{std::make_unique<Lent>(region)};
  std::unique_ptr<Paged> paged;
};

TEST_P(TrackerTest, OnlyWhatWasWrittenIsPushed) {
  expect_pattern(*paged, kPages * P);
  EXPECT_EQ(paged->tracker->push(), 0u);
  set(3, 77);
  set(200, 78);
  set(3, 79);
  EXPECT_EQ(paged->tracker->push(), 2 * P);
  EXPECT_EQ(in_region(3), 79u);
  EXPECT_EQ(in_region(200), 78u);
  EXPECT_EQ(paged->tracker->push(), 0u);
  set(3, 80);
  EXPECT_EQ(paged->tracker->push(), P);
  EXPECT_EQ(in_region(3), 80u);
}

TEST_P(TrackerTest, AWriteThatIsTheFirstTouchIsPushedWithTheRestOfItsPage) {
  set(5, 55);
  EXPECT_EQ(paged->tracker->push(), P);
  EXPECT_EQ(in_region(5), 55u);
  std::byte word_there[8];
  region.read_at(word_there, 5 * P + 16);
  EXPECT_EQ(word(word_there), 5 * P + 16);
}

TEST_P(TrackerTest, WhatFailedIsPushedTheNextTime) {
  for (std::uint64_t page = 0; page < 100; page += 3) set(page, 66);
  faulty.fail_from(Call::write, 3, EIO, 1);
  EXPECT_THROW(paged->tracker->push(), std::system_error);
  paged->tracker->push();
  for (std::uint64_t page = 0; page < 100; page += 3) ASSERT_EQ(in_region(page), 66u) << page;
  set(1, 67);
  faulty.fail_from(Call::flush, 1, EIO, 1);
  EXPECT_THROW(paged->tracker->push(), std::system_error);
  EXPECT_EQ(paged->tracker->push(), 0u);
}

TEST_P(TrackerTest, PagesThatWereGivenBackAreZeroInTheRegion) {
  set(7, 70);
  ASSERT_EQ(::madvise(paged->bytes() + 7 * P, P, MADV_DONTNEED), 0);
  EXPECT_GE(paged->tracker->push(), P);
  EXPECT_EQ(in_region(7), 0u);
  EXPECT_EQ(paged->bytes()[7 * P + 9], std::byte{0});
  set(7, 71);
  paged->tracker->push();
  EXPECT_EQ(in_region(7), 71u);
}

TEST_P(TrackerTest, WhileThreadsWriteNothingIsLost) {
  std::atomic<bool> done{false};
  std::vector<std::thread> writers;
  for (std::uint64_t i = 0; i < 2; ++i)
    writers.emplace_back([&, i] {
      for (std::uint64_t n = 1; !done; ++n) {
        auto* page = reinterpret_cast<volatile std::uint64_t*>(paged->bytes() + (n * 7 + i) % kPages * P);
        page[1] = n;
        page[500] = n;
      }
    });
  for (int i = 0; i < 20; ++i) try {
      paged->tracker->push();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), EPERM);  // no process can stop itself to be looked at
    }
  done = true;
  for (auto& writer : writers) writer.join();
  paged->tracker->push();
  std::vector<std::byte> bytes(kPages * P);
  region.read_at(bytes, 0);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), paged->bytes()));
}

INSTANTIATE_TEST_SUITE_P(Both, TrackerTest, testing::Bool(), [](const auto& given) {
  return std::string(given.param ? "asynchronous" : "synchronous");
});

}  // namespace

}  // namespace r3::test
