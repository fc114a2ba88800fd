// SPDX-License-Identifier: Apache-2.0
// The handshake of the NBD server with clients that mean no good, or make no sense.
#include <gtest/gtest.h>

#include <random>

#include "libcommon/base/error.hpp"
#include "tests/unit/nbd_handshake.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

// Rows 1 and 2 of the attacks: names at every critical length, lengths that lie.
TEST_F(NbdHandshake, LongNamesAreAnsweredInSync) {
  auto client = greeted();
  for (const std::size_t length : {255, 256, 257, 1024, 4095, 4096, 4097, 16000, 65535, 65536, 70000}) {
    const auto name = std::string(length, 'a');
    const auto wanted = length > 60000 ? kRepErrTooBig
                        : length > 4096 ? kRepErrInvalid : kRepErrUnknown;
    for (const std::uint32_t option : {kOptInfo, kOptGo}) {
      const auto type = client.ask(option, WireClient::go_data(name)).type;
      EXPECT_TRUE(type == wanted || (length == 65535 && type == kRepErrInvalid)) << length;
    }
    expect_in_sync(client);
  }
}

TEST_F(NbdHandshake, LongExportNamesAreClosed) {
  for (const std::size_t length : {257, 1024, 4095, 4096, 4097, 65536}) {
    auto client = greeted();
    client.option(kOptExportName, join(std::string_view(std::string(length, 'a'))));
    EXPECT_TRUE(client.closed());
  }
  expect_served();
}

TEST_F(NbdHandshake, AnExportNameOfFourGigabytesIsClosedAtOnce) {
  auto client = greeted();
  client.send(join(OptionRequest{kOptionMagic, std::uint32_t{kOptExportName}, 0xffffffffU}));
  EXPECT_TRUE(client.closed());
  expect_served();
}

TEST_F(NbdHandshake, LengthsThatLieAreRefusedInSync) {
  auto client = greeted();
  EXPECT_EQ(client.ask(kOptStructuredReply).type, kRepAck);
  const std::uint32_t huge = 0xffffffff;
  const std::vector<std::pair<std::uint32_t, ByteString>> bad = {
      {kOptGo, {}},
      {kOptGo, join(Be32(0))},
      {kOptGo, join(Be32(huge), Be16(0))},
      {kOptInfo, join(Be32(huge), Be16(0))},
      {kOptGo, join(Be32(1), Be16(0))},
      {kOptGo, join(Be32(0), Be16(1))},
      {kOptGo, join(Be32(0), Be16(0xffff), Be16(1))},
      {kOptGo, join(Be32(0), Be16(0), Be16(1))},
      {kOptGo, join(Be32(0), Be16(1), std::string_view("x"))},
      {kOptSetMetaContext, {}},
      {kOptSetMetaContext, join(Be32(huge), Be32(0))},
      {kOptSetMetaContext, join(Be32(0), Be32(huge))},
      {kOptListMetaContext, join(Be32(0), Be32(1), Be32(huge), std::string_view("base:"))},
      {kOptSetMetaContext, join(Be32(0), Be32(1), Be32(6), std::string_view("base:"))},
      {kOptSetMetaContext, join(Be32(0), Be32(0), Be32(0))},
  };
  for (const auto& [option, data] : bad) {
    EXPECT_EQ(client.ask(option, data).type, kRepErrInvalid);
    expect_in_sync(client);
  }
}

TEST_F(NbdHandshake, NamesNeverReachTheFileSystem) {
  auto client = greeted();
  using namespace std::string_view_literals;
  for (const auto name : {"../etc/passwd"sv, "/etc/passwd"sv, "a/../../b"sv, "."sv, ".."sv,
                          "second/"sv, "second\0"sv, "second\n"sv, "\0"sv})
    EXPECT_EQ(client.ask(kOptInfo, WireClient::go_data(name)).type, kRepErrUnknown) << name;
}

TEST_F(NbdHandshake, StartTlsIsRefusedWithoutAskingForIt) {
  auto client = greeted();
  EXPECT_EQ(client.ask(kOptStartTls).type, kRepErrUnsupported);
  client.go();
}

// Row 9: what is injected behind STARTTLS in the same segment is plain, and answered as such.
TEST_F(NbdHandshake, StartTlsDoesNotSwallowWhatFollows) {
  auto client = greeted();
  client.send(join(OptionRequest{kOptionMagic, std::uint32_t{kOptStartTls}, 0U},
                   OptionRequest{kOptionMagic, std::uint32_t{kOptStructuredReply}, 0U}));
  EXPECT_EQ(client.answer().type, kRepErrUnsupported);
  const auto next = client.answer();
  EXPECT_EQ(next.option, kOptStructuredReply);
  EXPECT_EQ(next.type, kRepAck);
}

// Row 4: endless or huge options.
TEST_F(NbdHandshake, EndlessOptionsAreCutOff) {
  auto many = greeted();
  unsigned answered = 0;
  for (; answered < 5000; ++answered) {
    many.option(99);
    if (many.answer().type == 0) break;
  }
  EXPECT_GT(answered, 100U);
  EXPECT_LT(answered, 5000U);

  auto huge = greeted();
  huge.send(join(OptionRequest{kOptionMagic, 99U, 0xffffffffU}));
  EXPECT_TRUE(huge.closed());

  auto large = greeted();
  EXPECT_EQ(large.ask(99, ByteString(500'000)).type, kRepErrTooBig);
  large.option(99, ByteString(600'000));
  EXPECT_TRUE(large.closed());
  expect_served();
}

TEST_F(NbdHandshake, WrongOptionMagicIsClosed) {
  auto client = greeted();
  client.send(join(OptionRequest{kOptionMagic + 1, std::uint32_t{kOptList}, 0U}));
  EXPECT_TRUE(client.closed());
}

// Row 5: hang-ups after every byte, and noise.
TEST_F(NbdHandshake, HangUpAfterEveryByteHarmsNobody) {
  auto whole = join(Be32(3), OptionRequest{kOptionMagic, std::uint32_t{kOptStructuredReply}, 0U});
  const auto go = WireClient::go_data("", {kInfoBlockSize});
  append(whole, join(OptionRequest{kOptionMagic, std::uint32_t{kOptGo},
                                   static_cast<std::uint32_t>(go.size())},
                     go, Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kRead}, 1ULL, 0ULL, 4096U}));
  for (std::size_t sent = 0; sent <= whole.size(); ++sent) {
    auto client = server.connect();
    client.send(ByteString(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(sent)));
    client.hang_up();
  }
  EXPECT_EQ(server.join(), 0U);
  expect_served();
}

TEST_F(NbdHandshake, NoiseHarmsNobody) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    auto client = server.connect();
    if (round % 2) client.greet();
    ByteString noise(random() % 300);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    client.send(noise);
    client.hang_up();
  }
  server.join();
  expect_served();
}

// Row 10: a client that never says anything.
TEST(NbdHandshakeDeadline, SilentAndSlowClientsAreCutOff) {
  MemoryBackend memory(4096);
  NbdServerOptions options;
  options.handshake_timeout = std::chrono::milliseconds(50);
  WireServer server({{"", "", &memory, false}}, options);
  auto silent = server.connect();
  silent.receive(18);
  EXPECT_TRUE(silent.closed());
  auto half = server.connect();
  half.greet();
  half.send(join(Be64(kOptionMagic)));
  EXPECT_TRUE(half.closed());
  EXPECT_EQ(server.join(), 2U);
}

// Row 16 in the handshake: more answers than the socket holds, and nobody reads them.
TEST(NbdHandshakeDeadline, AClientThatDoesNotReadIsCutOff) {
  MemoryBackend memory(4096);
  NbdServerOptions options;
  options.handshake_timeout = std::chrono::milliseconds(200);
  std::vector<NbdExport> exports;
  for (int i = 0; i < 100; ++i)
    exports.push_back({std::to_string(i), std::string(4000, 'd'), &memory, false});
  WireServer server(exports, options);
  auto deaf = server.connect();
  deaf.greet();
  ByteString lists;
  for (int i = 0; i < 20; ++i)
    append(lists, OptionRequest{kOptionMagic, std::uint32_t{kOptList}, std::uint32_t{0}});
  deaf.send(lists);
  server.join();  // without an end if it waited for the client
}

}  // namespace
}  // namespace r3
