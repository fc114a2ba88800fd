// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/read_only.hpp"

#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

std::byte content(std::uint64_t offset) { return static_cast<std::byte>(offset * 7 / 3); }

BackendUnderTest make_read_only(std::uint64_t size) {
  auto memory = std::make_unique<MemoryBackend>(size);
  for (std::uint64_t at = 0; at < size; ++at) memory->bytes()[at] = content(at);
  return {std::make_unique<ReadOnly>(std::move(memory))};
}

INSTANTIATE_TEST_SUITE_P(ReadOnly, BackendSuite,
                         testing::Values(BackendCase{"read_only", make_read_only, content}),
                         case_name);

TEST(ReadOnly, PassesOnWhatChangesNothing) {
  auto memory = std::make_unique<MemoryBackend>(64 * KiB);
  const std::byte* where = memory->bytes().data();
  ReadOnly read_only(std::move(memory));
  EXPECT_TRUE(read_only.extents(0, 4096, 1).at(0).hole);
  std::byte one;
  EXPECT_TRUE(read_only.try_read_at({&one, 1}, 0));
  EXPECT_EQ(read_only.borrow(0, 4096).data(), where);
}

}  // namespace
}  // namespace r3::test
