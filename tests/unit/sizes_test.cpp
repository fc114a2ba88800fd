// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/sizes.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace r3 {
namespace {

using std::chrono::milliseconds;

TEST(Sizes, Parses) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("64K"), 65536u);
  EXPECT_EQ(parse_size("1M"), 1u << 20);
  EXPECT_EQ(parse_size("2G"), 2ULL << 30);
  EXPECT_EQ(parse_size("1T"), 1ULL << 40);
  EXPECT_EQ(parse_size("18446744073709551615"), ~0ULL);
  EXPECT_EQ(parse_size("16777215T"), 16777215ULL << 40);
}

TEST(Sizes, RefusesWhatIsNone) {
  for (const char* text : {"", "K", "-1", "+1", " 1", "1 ", "1k", "1KB", "1.5M", "0x10", "1P", "M1",
                           "18446744073709551616", "16777216T", "99999999999999999999G"})
    EXPECT_THROW(parse_size(text), std::invalid_argument) << '"' << text << '"';
  EXPECT_THROW(parse_size(std::string_view("1\0", 2)), std::invalid_argument);
}

TEST(Sizes, SaysWhatIsAccepted) {
  try {
    parse_size("many");
    FAIL();
  } catch (const std::invalid_argument& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("\"many\""), text.npos);
    EXPECT_NE(text.find("64K"), text.npos);
  }
}

TEST(Durations, Parses) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("2s"), milliseconds(2000));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300'000));
  EXPECT_EQ(parse_duration("1h"), milliseconds(3'600'000));
  EXPECT_EQ(parse_duration("0s"), milliseconds(0));
}

TEST(Durations, RefusesWhatIsNone) {
  for (const char* text : {"", "5", "s", "-1s", "1.5s", "1 s", "1S", "1d", "99999999999h"})
    EXPECT_THROW(parse_duration(text), std::invalid_argument) << '"' << text << '"';
}

TEST(Numbers, HaveAMost) {
  EXPECT_EQ(parse_number("65535", 65535), 65535u);
  EXPECT_THROW(parse_number("65536", 65535), std::invalid_argument);
  for (const char* text : {"", "-1", "1x", "1K", " 1"})
    EXPECT_THROW(parse_number(text, 10), std::invalid_argument) << '"' << text << '"';
}

TEST(Sizes, FormatsForPeople) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1.0 KiB");
  EXPECT_EQ(format_size(1536 * 1024), "1.5 MiB");
  EXPECT_EQ(format_size(~0ULL), "16.0 EiB");
}

}  // namespace
}  // namespace r3
