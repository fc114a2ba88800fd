// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/memory.hpp"

#include <gtest/gtest.h>

namespace {

TEST(Memory, TellsHolesFromData) {
  r3::MemoryBackend memory(64 * r3::KiB);
  memory.write_at(r3::as_bytes("x"), 8192 + 5);
  const auto found = memory.extents(0, memory.size(), 16);
  const std::vector<r3::Extent> expected = {
      {0, 8192, true, true}, {8192, 4096, false, false}, {12288, 53248, true, true}};
  EXPECT_EQ(found, expected);
}

}  // namespace
