// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/flush_due.hpp"

#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

BackendUnderTest make_flush_due(std::uint64_t size) {
  return {std::make_unique<FlushDue>(std::make_unique<MemoryBackend>(size))};
}

INSTANTIATE_TEST_SUITE_P(FlushDue, BackendSuite, testing::Values(BackendCase{"flush_due", make_flush_due}),
                         case_name);

// Fails when told to, and lets the test do something in the middle of a flush.
class Fragile : public Decorator {
 public:
  explicit Fragile(Backend& below) : Decorator(below) {}
  void flush() override {
    if (in_flush) in_flush();
    if (broken) throw std::system_error(EIO, std::generic_category());
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    if (broken) throw std::system_error(EIO, std::generic_category());
    Decorator::write_at(from, offset);
  }
  bool broken = false;
  std::function<void()> in_flush;
};

class FlushDueTest : public testing::Test {
 protected:
  std::vector<std::byte> page_ = std::vector<std::byte>(4096);
  MemoryBackend memory_{64 * KiB};
  Fragile* below_ = new Fragile(memory_);
  FlushDue region_{std::unique_ptr<Backend>(below_)};
};

TEST_F(FlushDueTest, AfterEachKindOfChangeUntilAFlush) {
  EXPECT_FALSE(region_.due());
  const std::function<void()> changes[] = {
      [&] { region_.write_at(page_, 0); }, [&] { ASSERT_TRUE(region_.try_write_at(page_, 0)); },
      [&] { region_.zero_at(0, 4096); }, [&] { region_.discard_at(0, 4096); }};
  for (const auto& change : changes) {
    change();
    EXPECT_TRUE(region_.due());
    region_.flush();
    EXPECT_FALSE(region_.due());
  }
  region_.read_at(page_, 0);
  EXPECT_FALSE(region_.due());
}

TEST_F(FlushDueTest, AFlushThatFailsLeavesItDue) {
  region_.write_at(page_, 0);
  below_->broken = true;
  EXPECT_THROW(region_.flush(), std::system_error);
  EXPECT_TRUE(region_.due());
}

TEST_F(FlushDueTest, AChangeThatFailedWasPromisedToNobody) {
  below_->broken = true;
  EXPECT_THROW(region_.write_at(page_, 0), std::system_error);
  EXPECT_FALSE(region_.due());
}

TEST_F(FlushDueTest, AChangeDuringAFlushIsNotCoveredByIt) {
  region_.write_at(page_, 0);
  below_->in_flush = [&] { region_.write_at(page_, 4096); };
  region_.flush();
  EXPECT_TRUE(region_.due());
}

}  // namespace
}  // namespace r3::test
