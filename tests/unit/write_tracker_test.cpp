// SPDX-License-Identifier: Apache-2.0
// Writes that are tracked and pushed, in both ways.
#include "libcommon/device/write_tracker.hpp"

#include <sys/mman.h>

#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/paged.hpp"

namespace r3::test {

namespace {

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
