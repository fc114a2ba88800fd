// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/region.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>

#include "tests/unit/backend_suite.hpp"

namespace {

using r3::Address;
using r3::parse_region;
using r3::Region;

TEST(Region, PlainPathsAreFiles) {
  for (const char* text : {"disk.img", "/dev/sda", "./a:b", "/a:b", "A:b", "-", "1:2", "a b", "../x:y"}) {
    const Region region = parse_region(text);
    EXPECT_EQ(region.scheme, "file") << text;
    EXPECT_EQ(region.rest, text);
  }
  EXPECT_EQ(parse_region("file:a:b?c#d%20").rest, "a:b?c#d%20");
}

TEST(Region, ParsesSizes) {
  EXPECT_EQ(parse_region("memory:64M").size, 64U << 20);
  EXPECT_EQ(parse_region("memory:0").size, 0U);
  EXPECT_EQ(parse_region("zero:9223372036854775807").size, (1ULL << 63) - 1);
  EXPECT_EQ(parse_region("pattern:1").size, 1U);
  EXPECT_EQ(parse_region("memory:1K?file=/a%20b").parameters.at("file"), "/a b");
  const Region dir = parse_region("dir:/d%3f?size=1T&chunk=64K");
  EXPECT_EQ(dir.rest, "/d?");
  EXPECT_EQ(dir.size, 1ULL << 40);
  EXPECT_EQ(dir.parameters.at("chunk"), "64K");
}

TEST(Region, ParsesNbdUris) {
  Region region = parse_region("nbd://example.org");
  EXPECT_EQ(region.address, r3::parse_address("tcp://example.org:10809"));
  EXPECT_EQ(region.rest, "");
  region = parse_region("nbd://[::1]:7//disk%2Fone");
  EXPECT_EQ(region.address, r3::parse_address("tcp://[::1]:7"));
  EXPECT_EQ(region.rest, "/disk/one");
  EXPECT_EQ(parse_region("nbd://[::1]/x").address.port, 10809);
  EXPECT_EQ(parse_region("nbd://h:1/").rest, "");
  EXPECT_EQ(parse_region("nbd+vsock://2/x").address, r3::parse_address("vsock://2:10809"));
  EXPECT_EQ(parse_region("nbd+exec:ssh h nbd-serve - 'a?b#c%20'").address.command,
            "ssh h nbd-serve - 'a?b#c%20'");
}

TEST(Region, ParsesNbdUnixUris) {
  const Region region = parse_region("nbd+unix:///a%20b?socket=/run/s%3F");
  EXPECT_EQ(region.address.path, "/run/s?");
  EXPECT_EQ(region.rest, "a b");
  EXPECT_EQ(parse_region("nbd+unix:///?socket=%00name").address.path, "@name");
  EXPECT_EQ(parse_region("nbd+unix:///?socket=@name").address.path, "./@name");
  EXPECT_EQ(parse_region("nbd+unix:///?socket=//x").address.path, "//x");
  EXPECT_EQ(parse_region("nbd+unix://?socket=s").rest, "");
}

TEST(Region, TextRoundTrips) {
  for (const char* text :
       {"disk", "file:a:b", "memory:64K?file=/a%20b", "dir:/d%3F?chunk=4K&size=1M", "zero:0",
        "nbd://h/x", "nbd://[::1]:7//d%25", "nbd+unix:///e?socket=%00n", "nbd+vsock://any:1/",
        "nbd+exec:a | b", "pattern:5"}) {
    const Region region = parse_region(text);
    const Region again = parse_region(to_text(region));
    EXPECT_EQ(again.scheme, region.scheme) << text;
    EXPECT_EQ(again.rest, region.rest) << text;
    EXPECT_EQ(again.parameters, region.parameters) << text;
    EXPECT_EQ(again.size, region.size) << text;
    EXPECT_EQ(again.address, region.address) << text;
  }
}

TEST(Region, OtherSchemesBelongToHelpers) {
  for (const char* text : {"gopher:x", "redis+unix:///0/a%20b?socket=/s#x", "a:"}) {
    const Region region = parse_region(text);
    EXPECT_TRUE(r3::is_helped(region)) << text;
    EXPECT_EQ(to_text(region), text);
    EXPECT_THROW(r3::open_region(parse_region("nosuch" + to_text(region)), {}), std::invalid_argument);
  }
  for (const char* text : {"disk", "memory:1", "nbd://h/x", "r3://h/x", "dir:d"})
    EXPECT_FALSE(r3::is_helped(parse_region(text))) << text;
}

TEST(Region, RefusesNonsenseWithOneLine) {
  for (const char* text :
       {"", "file:", "memory:", "memory:x", "memory:-1", "memory:8388608T", "memory:9223372036854775808",
        "memory:1?fil=x", "memory:1?file", "memory:1?file=", "memory:1?file=a&file=b",
        "memory:1?file=%0", "memory:1?file=%00", "pattern:1?x=1", "zero:", "dir:", "dir:?size=1",
        "dir:d?size=x", "dir:d?chunk=-", "dir:d?x=1", "nbd:", "nbd:/x", "nbd://", "nbd:///x",
        "nbd://h:0/x", "nbd://h:x/", "nbd://u@h/", "nbd://h/%00", "nbd://h/%zz", "nbd://h/?socket=/s",
        "nbd://h/?tls-type=anon", "nbd://h/a#b", "nbd://::1/", "nbd+unix:///x", "nbd+unix://h/x?socket=/s",
        "nbd+unix:///x?socket=", "nbd+unix:///x?socket=/s&x-y=1", "nbd+vsock://x:1/", "nbd+exec:",
        "nbd+exec: ", "nbds://h/", "nbds+unix:///?socket=/s", "nbd+x://h/", "r3+x://h/",
        "r3x:y"}) {
    try {
      parse_region(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const std::invalid_argument& error) {
      EXPECT_EQ(std::string(error.what()).find("region \"" + std::string(text) + "\""), 0U);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
  EXPECT_THROW(parse_region("nbd://h/" + std::string(4097, 'x')), std::invalid_argument);
  EXPECT_THROW(parse_region(std::string("a\0b", 3)), std::invalid_argument);
}

TEST(Region, SaysWhatToUseInsteadOfTls) {
  try {
    parse_region("nbds://h/");
    ADD_FAILURE();
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("nbd+exec:ssh"), std::string::npos);
  }
}

using r3::open_region;

class RegionOpen : public testing::Test {
 protected:
  std::unique_ptr<r3::Backend> open(const std::string& text, bool read_only = false) {
    return open_region(parse_region(text), {.read_only = read_only});
  }
  r3::test::TemporaryDirectory directory_;
};

TEST_F(RegionOpen, OpensEachLeaf) {
  const auto file = directory_.path() + "/file";
  std::ofstream(file) << "hello";
  EXPECT_EQ(open(file)->size(), 5U);
  EXPECT_EQ(open("file:" + file)->size(), 5U);
  EXPECT_EQ(open("zero:1M")->size(), r3::MiB);
  EXPECT_EQ(open("pattern:1M")->size(), r3::MiB);
  EXPECT_EQ(open("memory:0")->size(), 0U);
  const auto memory = open("memory:8?file=" + r3::percent_encode(file));
  EXPECT_EQ(r3::as_text(r3::test::read_bytes(*memory, 0, 8)), std::string_view("hello\0\0\0", 8));
  const auto dir = directory_.path() + "/dir";
  EXPECT_EQ(open("dir:" + dir + "?size=1M&chunk=4K")->size(), r3::MiB);
  EXPECT_EQ(open("dir:" + dir)->size(), r3::MiB);
  EXPECT_THROW(open("dir:" + dir + "?size=2M"), std::invalid_argument);
}

TEST_F(RegionOpen, ReadOnlyIsReadOnly) {
  for (const char* text : {"memory:1", "zero:1", "pattern:1"})
    EXPECT_TRUE(open(text, true)->read_only()) << text;
}

TEST_F(RegionOpen, SaysWhatDoesNotOpen) {
  EXPECT_EQ(r3::test::error_of([&] { open(directory_.path() + "/none"); }), ENOENT);
  const auto file = directory_.path() + "/file";
  std::ofstream(file) << "hello";
  EXPECT_EQ(r3::test::error_of([&] { open("memory:4?file=" + file); }), EFBIG);
  EXPECT_EQ(r3::test::error_of([&] { open("nbd+unix:///?socket=" + file); }), ECONNREFUSED);
}

}  // namespace
