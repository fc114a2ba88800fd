// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/counted.hpp"

#include <system_error>

#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/read_only.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

BackendUnderTest make_counted(std::uint64_t size) {
  auto memory = std::make_shared<MemoryBackend>(size);
  return {std::make_unique<Counted>(*memory), memory};
}

INSTANTIATE_TEST_SUITE_P(Counted, BackendSuite, testing::Values(BackendCase{"counted", make_counted}), case_name);

TEST(Counted, CountsWhatPassesAndWhatIsRefused) {
  MemoryBackend memory(64 * KiB);
  Counted counted(memory);
  std::vector<std::byte> data(4096);
  counted.write_at(data, 0);
  EXPECT_TRUE(counted.try_write_at(data, 4096));
  counted.read_at(data, 0);
  EXPECT_FALSE(counted.borrow(0, 100).empty());
  counted.flush();
  EXPECT_THROW(counted.write_at(data, 64 * KiB), std::system_error);
  const Counted::Numbers numbers = counted.numbers();
  EXPECT_EQ(numbers.writes, 2U);
  EXPECT_EQ(numbers.written_bytes, 8192U);
  EXPECT_EQ(numbers.reads, 2U);
  EXPECT_EQ(numbers.read_bytes, 4196U);
  EXPECT_EQ(numbers.lost_bytes, 4096U);
  EXPECT_EQ(numbers.waiting, 0U);
  EXPECT_EQ(numbers.ended, 6U);
}

}  // namespace
}  // namespace r3::test
