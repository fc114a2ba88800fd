// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/uffd_handoff.hpp"

#include <gtest/gtest.h>

#include "libcommon/base/error.hpp"

namespace r3::uffd {

namespace {

ConstBytes header_of(const std::vector<std::byte>& message) {
  return std::span(message).first(Header::kSize);
}

ConstBytes payload_of(const std::vector<std::byte>& message) {
  return std::span(message).subspan(Header::kSize);
}

TEST(UffdHandoff, MessagesSayTheSameAfterwards) {
  Map map{true, false, true, {{0x7f0000000000, 8192, 4096, 4096}, {0x600000, 2 << 20, 0, 2 << 20}}};
  const auto message = map_message(map);
  const Header header = parse_header(header_of(message));
  EXPECT_EQ(header.type, Type::map);
  EXPECT_EQ(header.count, 2);
  EXPECT_EQ(header.length, message.size() - Header::kSize);
  const Map again = parse_map(header, payload_of(message));
  EXPECT_EQ(again.ranges, map.ranges);
  EXPECT_TRUE(again.keeps_duplicate);
  EXPECT_FALSE(again.served_before);
  EXPECT_TRUE(again.track);

  const auto info = parse_region_info(payload_of(region_message({1234, 65536, true})));
  EXPECT_EQ(info.size, 1234u);
  EXPECT_EQ(info.chunk, 65536u);
  EXPECT_TRUE(info.writable);
  EXPECT_EQ(parse_hello(payload_of(hello_message())).version, kVersion);
  const auto refused = refused_message(22, "no");
  EXPECT_EQ(parse_header(header_of(refused)).error, 22u);
  EXPECT_EQ(as_text(payload_of(refused)), "no");
  EXPECT_EQ(parse_number(payload_of(pushed_message(0, 77))), 77u);
}

// The tables of the manual page, byte by byte.
TEST(UffdHandoff, TheBytesOfAMapAreTheOnesInTheManual) {
  const auto message = map_message({true, true, false, {{0x1000, 0x2000, 0x3000, 0x1000}}});
  ASSERT_EQ(message.size(), 64u);
  EXPECT_EQ(as_text(std::span(message).first(4)), "r3uf");
  EXPECT_EQ(message[4], std::byte{3});
  EXPECT_EQ(message[6], std::byte{1});
  EXPECT_EQ(message[8], std::byte{48});
  EXPECT_EQ(message[16], std::byte{3});
  EXPECT_EQ(message[33], std::byte{0x10});
  EXPECT_EQ(message[41], std::byte{0x20});
  EXPECT_EQ(message[49], std::byte{0x30});
  EXPECT_EQ(message[57], std::byte{0x10});
}

TEST(UffdHandoff, NonsenseIsRefused) {
  auto message = map_message({false, false, false, {{4096, 4096, 0, 4096}}});
  const Header header = parse_header(header_of(message));
  EXPECT_THROW(parse_map(header, payload_of(message).first(47)), ProtocolError);
  message[19] = std::byte{1};
  EXPECT_THROW(parse_map(header, payload_of(message)), ProtocolError);
  message[8] = message[9] = message[10] = std::byte{255};
  EXPECT_THROW(parse_header(header_of(message)), ProtocolError);
  message[4] = std::byte{99};
  EXPECT_THROW(parse_header(header_of(message)), ProtocolError);
  message[0] = std::byte{0};
  EXPECT_THROW(parse_header(header_of(message)), ProtocolError);
  auto hello = hello_message();
  hello[16] = std::byte{2};
  EXPECT_THROW(parse_hello(payload_of(hello)), ProtocolError);
}

TEST(UffdHandoff, ProtocolsAreToldApartByTheirFirstBytes) {
  EXPECT_EQ(protocol_of({}), std::nullopt);
  EXPECT_EQ(protocol_of(as_bytes("[")), Protocol::firecracker);
  EXPECT_EQ(protocol_of(as_bytes("r")), Protocol::own);
  EXPECT_EQ(protocol_of(as_bytes(std::string_view("\0\0\x7f", 3))), std::nullopt);
  EXPECT_EQ(protocol_of(as_bytes(std::string_view("\0\0\x7f\0\0\0\0\0", 8))), Protocol::original);
}

TEST(UffdHandoff, TheOriginalsAddressIsBigEndian) {
  const auto range = parse_original(as_bytes(std::string_view("\0\0\x7f\x12\x34\x56\x70\0", 8)), 5000);
  EXPECT_EQ(range, (UffdRange{0x7f1234567000, 8192, 0, 4096}));
}

using Ranges = std::vector<UffdRange>;

TEST(UffdHandoff, FirecrackersMappings) {
  EXPECT_EQ(parse_firecracker(R"([{"base_host_virt_addr":139,"size":8192,"offset":0,"page_size":4096,"page_size_kib":4096},
                                  {"base_host_virt_addr":5, "size":1, "offset":2}])"),
            (Ranges{{139, 8192, 0, 4096}, {5, 1, 2, 4096}}));
  EXPECT_EQ(parse_firecracker(R"([{"size":1,"offset":0,"base_host_virt_addr":3,"page_size_kib":2048}])"),
            (Ranges{{3, 1, 0, 2 << 20}}));
  EXPECT_EQ(parse_firecracker(R"([{"size":1,"offset":0,"base_host_virt_addr":3,"page_size_kib":2097152}])"),
            (Ranges{{3, 1, 0, 2 << 20}}));
  EXPECT_EQ(parse_firecracker(R"([{"new":{"a":[1,-2.5e3,"x\n",null]},"size":1,"offset":0,"base_host_virt_addr":3}] )"),
            (Ranges{{3, 1, 0, 4096}}));
  EXPECT_EQ(parse_firecracker("[]"), Ranges{});
}

TEST(UffdHandoff, FirecrackersTextMayComeInPieces) {
  const std::string text = R"([{"base_host_virt_addr":1,"size":2,"offset":3,"x":"\"]"}])";
  for (std::size_t i = 0; i < text.size(); ++i)
    EXPECT_EQ(parse_firecracker(std::string_view(text).substr(0, i)), std::nullopt) << i;
  EXPECT_TRUE(parse_firecracker(text));
}

TEST(UffdHandoff, WhatIsNoMappingIsRefused) {
  for (const char* text : {"{}", "[1]", "[{}]", R"([{"size":1}])", R"([{"size":-1,"offset":0,"base_host_virt_addr":0}])",
                           R"([{"size":1.5,"offset":0,"base_host_virt_addr":0}])",
                           R"([{"size":99999999999999999999,"offset":0,"base_host_virt_addr":0}])",
                           R"([{"size":01,"offset":0,"base_host_virt_addr":0}])",
                           R"([{"size":1,"offset":0,"base_host_virt_addr":0}] x)",
                           R"([{"size":1,"offset":0,"base_host_virt_addr":0},])", R"([{"a":"\q"}])"})
    EXPECT_THROW(parse_firecracker(text), ProtocolError) << text;
  EXPECT_THROW(parse_firecracker(R"([{"a":)" + std::string(40, '[')), ProtocolError);
  EXPECT_THROW(parse_firecracker("[{\"" + std::string(70'000, 'a')), ProtocolError);
}

}  // namespace

}  // namespace r3::uffd
