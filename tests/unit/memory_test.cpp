// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/memory.hpp"

#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

BackendUnderTest make_memory(std::uint64_t size) { return {std::make_unique<MemoryBackend>(size)}; }

INSTANTIATE_TEST_SUITE_P(Memory, BackendSuite, testing::Values(BackendCase{"memory", make_memory}),
                         case_name);

TEST(Memory, TellsHolesFromData) {
  MemoryBackend memory(64 * KiB);
  memory.write_at(as_bytes("x"), 8192 + 5);
  const auto found = memory.extents(0, memory.size(), 16);
  const std::vector<Extent> expected = {
      {0, 8192, true, true}, {8192, 4096, false, false}, {12288, 53248, true, true}};
  EXPECT_EQ(found, expected);
}

TEST(Memory, ZeroedPagesGoBackToTheSystem) {
  MemoryBackend memory(64 * KiB);
  memory.write_at(std::vector<std::byte>(64 * KiB, std::byte{1}), 0);
  memory.zero_at(4096, 8192, {});
  const std::vector<Extent> expected = {
      {0, 4096, false, false}, {4096, 8192, true, true}, {12288, 53248, false, false}};
  EXPECT_EQ(memory.extents(0, memory.size(), 16), expected);
}

}  // namespace
}  // namespace r3::test
