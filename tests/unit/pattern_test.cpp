// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pattern.hpp"

#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

BackendUnderTest make_pattern(std::uint64_t size) {
  return {std::make_unique<PatternBackend>(size)};
}

std::byte pattern_byte(std::uint64_t offset) {
  return static_cast<std::byte>((offset & ~7ULL) >> (8 * (offset & 7)));
}

INSTANTIATE_TEST_SUITE_P(Pattern, BackendSuite,
                         testing::Values(BackendCase{"pattern", make_pattern, pattern_byte}),
                         case_name);

BackendUnderTest make_zero(std::uint64_t size) { return {std::make_unique<ZeroBackend>(size)}; }

INSTANTIATE_TEST_SUITE_P(
    Zero, BackendSuite,
    testing::Values(BackendCase{"zero", make_zero, [](std::uint64_t) { return std::byte{0}; }}),
    case_name);

TEST(Pattern, WordsAreTheirOffsetsFarUpToo) {
  PatternBackend pattern(~0ULL);
  const std::uint64_t at = 0x0123456789abcde8;
  const auto bytes = read_bytes(pattern, at, 8);
  EXPECT_EQ(load_le<std::uint64_t>(bytes.data()), at);
}

TEST(Zero, IsOneHole) {
  ZeroBackend zero(~0ULL);
  EXPECT_EQ(zero.extents(5, ~0ULL - 5, 1), (std::vector<Extent>{{5, ~0ULL - 5, true, true}}));
}

}  // namespace
}  // namespace r3::test
