// SPDX-License-Identifier: Apache-2.0
// What every backend gets from Backend itself, and the doubles of the tests.
#include "libcommon/storage/backend.hpp"

#include <limits>
#include <thread>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kFar = std::numeric_limits<std::uint64_t>::max();

// Has nothing but what it must have.
class PlainBackend : public Backend {
 public:
  explicit PlainBackend(std::uint64_t size) : memory_(size) {}
  std::uint64_t size() const override { return memory_.size(); }
  void read_at(Bytes into, std::uint64_t offset) override { memory_.read_at(into, offset); }
  void write_at(ConstBytes from, std::uint64_t offset) override { memory_.write_at(from, offset); }
  void flush() override {}

 private:
  MemoryBackend memory_;
};

BackendUnderTest make_plain(std::uint64_t size) { return {std::make_unique<PlainBackend>(size)}; }

BackendUnderTest make_doubles(std::uint64_t size) {
  auto faulty = std::make_unique<FaultyBackend>(std::make_unique<MemoryBackend>(size));
  return {std::make_unique<GatedBackend>(std::move(faulty))};
}

INSTANTIATE_TEST_SUITE_P(Backend, BackendSuite,
                         testing::Values(BackendCase{"defaults", make_plain},
                                         BackendCase{"doubles", make_doubles}),
                         case_name);

TEST(Ranges, AreCheckedNearTheLargestNumber) {
  EXPECT_EQ(error_of([] { check_read_range(10, 10, 0); }), 0);
  EXPECT_EQ(error_of([] { check_read_range(10, 9, 1); }), 0);
  EXPECT_EQ(error_of([] { check_read_range(10, 11, 0); }), EINVAL);
  EXPECT_EQ(error_of([] { check_read_range(10, 9, 2); }), EINVAL);
  EXPECT_EQ(error_of([] { check_read_range(10, 5, kFar); }), EINVAL);
  EXPECT_EQ(error_of([] { check_write_range(10, kFar, 2); }), ENOSPC);
  EXPECT_EQ(error_of([] { check_write_range(kFar, kFar - 1, 1); }), 0);
  EXPECT_EQ(error_of([] { check_write_range(kFar, kFar - 1, 2); }), ENOSPC);
}

TEST(Extents, OfAKindAreMerged) {
  std::vector<Extent> extents;
  append_extent(extents, {0, 5, true, true});
  append_extent(extents, {5, 5, true, true});
  append_extent(extents, {10, 0, false, false});
  append_extent(extents, {10, 5, false, true});
  EXPECT_EQ(extents, (std::vector<Extent>{{0, 10, true, true}, {10, 5, false, true}}));
}

TEST(Doubles, FaultyFailsTheCallItIsToldTo) {
  FaultyBackend faulty(std::make_unique<MemoryBackend>(100));
  faulty.fail_from(Call::write, 2, EDQUOT);
  faulty.write_at(as_bytes("x"), 0);
  read_bytes(faulty, 0, 1);
  EXPECT_EQ(error_of([&] { faulty.write_at(as_bytes("y"), 0); }), EDQUOT);
  EXPECT_EQ(as_text(read_bytes(faulty, 0, 1)), "x");
  faulty.write_at(as_bytes("z"), 0);
}

TEST(Doubles, GatedHoldsBackAndLetsGo) {
  GatedBackend gated(std::make_unique<MemoryBackend>(100));
  gated.shut(Call::write);
  std::thread writer([&] { gated.write_at(as_bytes("x"), 0); });
  gated.wait_for_waiting(1);
  EXPECT_EQ(read_bytes(gated, 0, 1).at(0), std::byte{0});
  gated.open();
  writer.join();
  EXPECT_EQ(as_text(read_bytes(gated, 0, 1)), "x");
}

}  // namespace
}  // namespace r3::test
