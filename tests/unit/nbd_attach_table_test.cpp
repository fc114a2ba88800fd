// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <stdexcept>

#include "tools/nbd-attach/table.hpp"

namespace r3::test {

TEST(AttachTable, LinesAreRead) {
  const auto entries = parse_table(
      "# the disks\n"
      "\n"
      "disk\tnbd://server/disk timeout=10s read-only # slow\n"
      "  images nbd+exec:x device=/dev/nbd3=\n");
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0].name, "disk");
  EXPECT_EQ(entries[0].target, "nbd://server/disk");
  ASSERT_EQ(entries[0].options.size(), 2u);
  EXPECT_EQ(entries[0].options[0], (std::pair<std::string, std::string>("timeout", "10s")));
  EXPECT_EQ(entries[0].options[1], (std::pair<std::string, std::string>("read-only", "")));
  EXPECT_EQ(entries[1].options[0].second, "/dev/nbd3=");
  EXPECT_TRUE(parse_table("").empty());
}

TEST(AttachTable, WhatMakesNoSenseIsNamed) {
  const auto text_of = [](const char* table) -> std::string {
    try {
      parse_table(table);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(text_of("a b\nc\n"), "line 2: NAME TARGET [OPTION]... is accepted");
  EXPECT_EQ(text_of("a b\na c\n"), "line 2: the name a is given twice");
}

}  // namespace r3::test
