// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/address.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace {

using r3::Address;
using r3::parse_address;

TEST(Address, ParsesTcp) {
  const Address address = parse_address("tcp://example.org:10809");
  EXPECT_EQ(address.kind, Address::Kind::tcp);
  EXPECT_EQ(address.host, "example.org");
  EXPECT_EQ(address.port, 10809);
  EXPECT_EQ(parse_address("tcp://[::1]:0").host, "::1");
  EXPECT_EQ(parse_address("tcp://[fe80::1%eth0]:65535").port, 65535);
}

TEST(Address, ParsesUnix) {
  EXPECT_EQ(parse_address("unix:/run/s").path, "/run/s");
  EXPECT_EQ(parse_address("unix:s").path, "s");
  EXPECT_EQ(parse_address("unix:///run/s").path, "/run/s");
  EXPECT_EQ(parse_address("unix:@name").path, "@name");
  EXPECT_NO_THROW(parse_address("unix:" + std::string(107, 'p')));
  EXPECT_NO_THROW(parse_address("unix:@" + std::string(107, 'p')));
}

TEST(Address, ParsesTheOthers) {
  EXPECT_EQ(parse_address("vsock://any:5").cid, 0xffffffffU);
  EXPECT_EQ(parse_address("vsock://host:5").cid, 2U);
  EXPECT_EQ(parse_address("vsock://local:4294967295").vsock_port, 0xffffffffU);
  EXPECT_EQ(parse_address("fd:7").fd, 7);
  EXPECT_EQ(parse_address("-").kind, Address::Kind::stdio);
  EXPECT_EQ(parse_address("exec:ssh host nbd-serve -").command, "ssh host nbd-serve -");
}

TEST(Address, TextRoundTrips) {
  for (const char* text :
       {"tcp://host:1", "tcp://[::1]:10809", "tcp://127.0.0.1:0", "unix:/a/b c", "unix:rel",
        "unix:@abstract", "unix:////double", "vsock://3:10809", "vsock://any:1", "fd:0", "-",
        "exec:a | b"}) {
    const Address address = parse_address(text);
    EXPECT_EQ(parse_address(to_text(address)), address) << text;
  }
  EXPECT_EQ(to_text(parse_address("unix:///run/s")), "unix:/run/s");
  EXPECT_EQ(to_text(parse_address("tcp://[::1]:5")), "tcp://[::1]:5");
}

TEST(Address, RefusesNonsenseWithOneLine) {
  const std::string too_long = "unix:" + std::string(108, 'p');
  const std::string zero("unix:a\0b", 8);
  for (const std::string& text :
       {std::string(), std::string("host:1"), std::string("tcp:"), std::string("tcp://"),
        std::string("tcp://host"), std::string("tcp://host:"), std::string("tcp://:1"),
        std::string("tcp://host:65536"), std::string("tcp://host:-1"), std::string("tcp://host:+1"),
        std::string("tcp://host:1 "), std::string("tcp://host:1/"), std::string("tcp://ho st:1"),
        std::string("tcp://::1:1"), std::string("tcp://[::1]"), std::string("tcp://[host]:1"),
        std::string("tcp://[]:1"), std::string("tcp://[::1:1"), std::string("tcp://-x:1"),
        std::string("unix:"), std::string("unix:@"), std::string("unix://run/s"), too_long, zero,
        std::string("vsock://"), std::string("vsock://1"), std::string("vsock://1:"),
        std::string("vsock://x:1"), std::string("vsock://4294967296:1"), std::string("vsock://1:x"),
        std::string("fd:"), std::string("fd:-1"), std::string("fd:x"), std::string("fd:2147483648"),
        std::string("exec:"), std::string("exec:  "), std::string("--"), std::string("TCP://h:1")}) {
    try {
      parse_address(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(text.c_str()), std::string::npos);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

TEST(Address, KnowsWhatIsLocal) {
  for (const char* text : {"tcp://localhost:1", "tcp://127.9.9.9:1", "tcp://[::1]:1", "unix:/s", "-",
                           "tcp://[::ffff:127.0.0.1]:1", "tcp://[::ffff:7f00:1]:1", "fd:3", "exec:x", "vsock://local:1"})
    EXPECT_TRUE(is_local(parse_address(text))) << text;
  for (const char* text : {"tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://10.0.0.1:1", "vsock://any:1",
                           "tcp://localhost.example.org:1", "tcp://127.evil.org:1", "vsock://2:1",
                           "tcp://127.0.0.1.example.org:1", "tcp://0:1", "tcp://128.0.0.1:1", "tcp://[::ffff:10.0.0.1]:1",
                           "tcp://[::ffff:0.0.0.0]:1", "tcp://[::127.0.0.1]:1", "tcp://[fe80::1]:1"})
    EXPECT_FALSE(is_local(parse_address(text))) << text;
}

TEST(Percent, RoundTripsEveryByte) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(r3::percent_decode(r3::percent_encode(all)), all);
  EXPECT_EQ(r3::percent_encode("/a b&c?"), "/a%20b%26c%3F");
  EXPECT_EQ(r3::percent_decode("%41%2f+"), "A/+");
}

TEST(Percent, RefusesBadEscapes) {
  for (const char* text : {"%", "a%1", "%g0", "%0g", "%%"})
    EXPECT_THROW(r3::percent_decode(text), std::invalid_argument) << text;
}

}  // namespace
