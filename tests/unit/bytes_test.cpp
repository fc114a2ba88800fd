// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/bytes.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace r3 {
namespace {

TEST(Bytes, IntegersHaveTheOrderAskedFor) {
  std::byte bytes[9] = {};
  store_be<std::uint32_t>(bytes + 1, 0x01020304);  // unaligned on purpose
  EXPECT_EQ(bytes[1], std::byte{1});
  EXPECT_EQ(bytes[4], std::byte{4});
  EXPECT_EQ(load_be<std::uint32_t>(bytes + 1), 0x01020304u);
  EXPECT_EQ(load_le<std::uint32_t>(bytes + 1), 0x04030201u);
  store_le<std::uint64_t>(bytes + 1, 0x0102030405060708);
  EXPECT_EQ(bytes[1], std::byte{8});
  EXPECT_EQ(load_be<std::uint64_t>(bytes + 1), 0x0807060504030201u);
  store_be<std::uint16_t>(bytes, 0x0102);
  EXPECT_EQ(load_le<std::uint16_t>(bytes), 0x0201u);
}

TEST(Bytes, AllZeroSeesEveryByte) {
  EXPECT_TRUE(all_zero({}));
  for (std::size_t length = 1; length < 200; ++length) {
    std::vector<std::byte> bytes(length);
    EXPECT_TRUE(all_zero(bytes));
    for (auto& byte : bytes) {
      byte = std::byte{0x80};
      EXPECT_FALSE(all_zero(bytes));
      byte = std::byte{0};
    }
  }
}

TEST(Bytes, Rounds) {
  EXPECT_EQ(round_down(4095, 4096), 0u);
  EXPECT_EQ(round_down(4096, 4096), 4096u);
  EXPECT_EQ(round_up(0, 4096), 0u);
  EXPECT_EQ(round_up(1, 4096), 4096u);
  EXPECT_EQ(round_up(4096, 4096), 4096u);
  EXPECT_EQ(round_up(7, 3), 9u);
}

TEST(Bytes, TextGoesBothWays) {
  EXPECT_EQ(as_text(as_bytes(std::string_view("a\0b", 3))), std::string_view("a\0b", 3));
}

}  // namespace
}  // namespace r3
