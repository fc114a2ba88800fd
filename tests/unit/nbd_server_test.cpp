// SPDX-License-Identifier: Apache-2.0
// The handshake of the NBD server, byte by byte.
#include "libcommon/net/nbd_server.hpp"

#include <gtest/gtest.h>

#include <random>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/nbd_wire.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

class NbdHandshake : public testing::Test {
 protected:
  MemoryBackend first{1 * MiB};
  MemoryBackend second{64 * KiB};
  WireServer server{{{"", "the first", &first, false}, {"second", "", &second, true}}};

  WireClient greeted() {
    auto client = server.connect();
    client.greet();
    return client;
  }
  // The connection still understands: a good client's next option is answered.
  static void expect_in_sync(WireClient& client) {
    EXPECT_EQ(client.ask(99).type, kRepErrUnsupported);
  }
  void expect_served() {
    auto client = server.connect_to();
    EXPECT_EQ(client.size, 1 * MiB);
  }
};

TEST_F(NbdHandshake, HelloOffersFixedNewstyleAndNoZeroes) {
  auto client = server.connect();
  EXPECT_EQ(client.receive(18), join(std::string_view("NBDMAGICIHAVEOPT"), Be16(3)));
}

TEST_F(NbdHandshake, ClosesOnClientFlagsThatWereNotOffered) {
  for (const std::uint32_t flags : {4U, 7U, 0x80000003U, 0xffffffffU}) {
    auto client = server.connect();
    client.greet(flags);
    EXPECT_TRUE(client.closed());
  }
  EXPECT_EQ(server.join(), 4U);
}

TEST_F(NbdHandshake, ExportNameAnswersWithoutZeroesIfAgreed) {
  auto client = greeted();
  client.option(kOptExportName, join(std::string_view("second")));
  const auto reply = client.receive(10);
  EXPECT_EQ(load_be<std::uint64_t>(reply.data()), 64 * KiB);
  EXPECT_TRUE(load_be<std::uint16_t>(&reply[8]) & kReadOnly);
  EXPECT_EQ(client.transact(kFlush, 0, 0), kOk);
}

TEST_F(NbdHandshake, ExportNameAnswersWith124ZeroesIfNotAgreed) {
  for (const std::uint32_t flags : {std::uint32_t{kFixedNewstyle}, 0U}) {
    auto client = server.connect();
    client.greet(flags);
    client.option(kOptExportName);
    const auto reply = client.receive(134);
    ASSERT_EQ(reply.size(), 134U);
    EXPECT_EQ(load_be<std::uint64_t>(reply.data()), 1 * MiB);
    EXPECT_TRUE(all_zero(ConstBytes(reply).subspan(10)));
    EXPECT_EQ(client.transact(kFlush, 0, 0), kOk);
  }
}

TEST_F(NbdHandshake, ExportNameThatFailsIsClosed) {
  auto client = greeted();
  client.option(kOptExportName, join(std::string_view("third")));
  EXPECT_TRUE(client.closed());
}

TEST_F(NbdHandshake, WithoutFixedNewstyleOnlyExportNameIsTaken) {
  auto client = server.connect();
  client.greet(0);
  client.option(kOptList);
  EXPECT_TRUE(client.closed());
}

TEST_F(NbdHandshake, GoSendsTheExportThenAcknowledgesWithoutZeroes) {
  auto client = server.connect();
  client.greet(kFixedNewstyle);
  client.go("second");
  EXPECT_EQ(client.size, 64 * KiB);
  EXPECT_EQ(client.transact(kFlush, 0, 0), kOk);
}

TEST_F(NbdHandshake, InfoSaysTheSameAsGoAndStaysInTheHandshake) {
  auto client = greeted();
  const auto data = WireClient::go_data("second", {kInfoName, kInfoBlockSize, 77});
  const auto info = client.ask_all(kOptInfo, data);
  const auto go = client.ask_all(kOptGo, data);
  ASSERT_EQ(info.size(), go.size());
  for (std::size_t i = 0; i < info.size(); ++i) {
    EXPECT_EQ(info[i].type, go[i].type);
    EXPECT_EQ(info[i].data, go[i].data);
  }
}

TEST_F(NbdHandshake, InfoAnswersNameDescriptionAndBlockSizes) {
  auto client = greeted();
  const auto all = client.ask_all(
      kOptInfo, WireClient::go_data("", {kInfoName, kInfoDescription, kInfoBlockSize}));
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(all[0].data.size(), sizeof(InfoExport));
  EXPECT_EQ(all[1].data, join(Be16(kInfoName)));
  EXPECT_EQ(all[2].data, join(Be16(kInfoDescription), std::string_view("the first")));
  EXPECT_EQ(all[3].data, join(InfoBlockSize{std::uint16_t{kInfoBlockSize}, 1U, 4096U,
                                            std::uint32_t{32 * MiB}}));
  EXPECT_EQ(all[4].type, kRepAck);
}

TEST_F(NbdHandshake, InfoAndGoForAnUnknownExportAreRefusedInSync) {
  auto client = greeted();
  for (const std::uint32_t option : {kOptInfo, kOptGo}) {
    EXPECT_EQ(client.ask(option, WireClient::go_data("third")).type, kRepErrUnknown);
    expect_in_sync(client);
  }
}

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

TEST_F(NbdHandshake, ListNamesAllExports) {
  auto client = greeted();
  const auto all = client.ask_all(kOptList);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].data, join(Be32(0), std::string_view("the first")));
  EXPECT_EQ(all[1].data, join(Be32(6), std::string_view("second")));
  EXPECT_EQ(all[2].type, kRepAck);
}

TEST_F(NbdHandshake, OptionsThatCarryNoDataRefuseIt) {
  auto client = greeted();
  for (const std::uint32_t option :
       {kOptList, kOptStartTls, kOptStructuredReply, kOptExtendedHeaders}) {
    EXPECT_EQ(client.ask(option, join(Be32(1))).type, kRepErrInvalid);
    expect_in_sync(client);
  }
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

TEST_F(NbdHandshake, UnknownOptionsAreRefusedInSyncWithTheirData) {
  auto client = greeted();
  for (const std::uint32_t option : {0U, 4U, 12U, 0x7fffffffU, 0xffffffffU}) {
    const auto answer = client.ask(option, ByteString(option % 1000));
    EXPECT_EQ(answer.option, option);
    EXPECT_EQ(answer.type, kRepErrUnsupported);
  }
  client.go();
}

TEST_F(NbdHandshake, AbortIsAcknowledgedThenClosedWhateverItCarries) {
  for (const auto& data : {ByteString{}, ByteString(5)}) {
    auto client = greeted();
    EXPECT_EQ(client.ask(kOptAbort, data).type, kRepAck);
    EXPECT_TRUE(client.closed());
  }
  EXPECT_EQ(server.join(), 0U);
}

TEST_F(NbdHandshake, StructuredRepliesAndExtendedHeadersInTheRightOrder) {
  auto client = greeted();
  EXPECT_EQ(client.ask(kOptStructuredReply).type, kRepAck);
  EXPECT_EQ(client.ask(kOptStructuredReply).type, kRepErrInvalid);
  EXPECT_EQ(client.ask(kOptExtendedHeaders).type, kRepAck);
  EXPECT_EQ(client.ask(kOptExtendedHeaders).type, kRepErrInvalid);
  EXPECT_EQ(client.ask(kOptStructuredReply).type, kRepErrExtHeaderRequired);
  client.option(kOptExportName);
  EXPECT_TRUE(client.closed());
}

TEST_F(NbdHandshake, MetaContextsNeedStructuredReplies) {
  auto client = greeted();
  const auto data = WireClient::meta_data("", {"base:allocation"});
  EXPECT_EQ(client.ask(kOptSetMetaContext, data).type, kRepErrInvalid);
  EXPECT_EQ(client.ask(kOptListMetaContext, data).type, kRepErrInvalid);
  expect_in_sync(client);
}

TEST_F(NbdHandshake, ListAndSetMetaContext) {
  auto client = greeted();
  client.ask(kOptStructuredReply);
  const auto asked = [&](std::uint32_t option, const std::vector<std::string>& queries) {
    return client.ask_all(option, WireClient::meta_data("", queries));
  };
  const auto name = std::string_view("base:allocation");
  for (const auto& queries : std::vector<std::vector<std::string>>{
           {}, {"base:"}, {"base:allocation"}, {"x:y", "base:allocation", "base:allocation"}}) {
    const auto listed = asked(kOptListMetaContext, queries);
    ASSERT_EQ(listed.size(), 2U);
    EXPECT_EQ(ConstBytes(listed[0].data).subspan(4).size(), name.size());
  }
  EXPECT_EQ(asked(kOptListMetaContext, {"qemu:"}).size(), 1U);
  EXPECT_EQ(asked(kOptListMetaContext, {"base:alloc"}).size(), 1U);
  for (const auto& queries : std::vector<std::vector<std::string>>{{}, {"base:"}, {"x:y"}})
    EXPECT_EQ(asked(kOptSetMetaContext, queries).size(), 1U);
  const auto set = asked(kOptSetMetaContext, {"base:allocation", "base:allocation"});
  ASSERT_EQ(set.size(), 2U);
  EXPECT_EQ(set[0].type, kRepMetaContext);
  EXPECT_EQ(set[0].data, join(Be32(1), name));
  EXPECT_EQ(client.ask(kOptSetMetaContext, WireClient::meta_data("third", {})).type,
            kRepErrUnknown);
}

TEST_F(NbdHandshake, SetMetaContextReplacesAndIsBoundToItsExport) {
  const auto selected_then = [&](auto&& act) {
    auto client = greeted();
    client.ask(kOptStructuredReply);
    client.ask_all(kOptSetMetaContext, WireClient::meta_data("", {"base:allocation"}));
    act(client);
    client.request(kBlockStatus, 0, 4096);
    return client.chunk().type;
  };
  EXPECT_EQ(selected_then([](WireClient& c) { c.go(); }), kChunkBlockStatus);
  EXPECT_EQ(selected_then([](WireClient& c) { c.go("second"); }), kChunkError);
  EXPECT_EQ(selected_then([](WireClient& c) {
              c.ask_all(kOptSetMetaContext, WireClient::meta_data("", {}));
              c.go();
            }),
            kChunkError);
  EXPECT_EQ(selected_then([](WireClient& c) {
              c.ask(kOptSetMetaContext, join(Be32(9)));  // fails
              c.go();
            }),
            kChunkError);
}

TEST_F(NbdHandshake, FlagsFollowWhatWasNegotiated) {
  auto plain = server.connect_to();
  EXPECT_EQ(plain.flags, kHasFlags | kSendFlush | kSendFua | kSendTrim | kSendWriteZeroes |
                             kSendFastZero | kCanMultiConn | kSendCache);
  auto structured = server.structured();
  EXPECT_EQ(structured.flags, plain.flags | kSendDf);
  auto read_only = server.connect_to("second");
  EXPECT_EQ(read_only.flags,
            kHasFlags | kReadOnly | kSendFlush | kSendFua | kCanMultiConn | kSendCache);
  EXPECT_EQ(server.connect_only().flags, plain.flags & ~kCanMultiConn);
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

TEST_F(NbdHandshake, StopEndsASilentClient) {
  auto client = server.connect();
  client.receive(18);
  server.stop.request();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server.join(), 0U);
}

TEST(NbdServerOptionsTest, ImpossibleOnesAreRefused) {
  MemoryBackend memory(4096);
  const auto refused = [&](std::uint32_t least, std::uint32_t good, std::uint32_t most) {
    NbdServerOptions options;
    options.minimum_block = least;
    options.preferred_block = good;
    options.maximum_block = most;
    EXPECT_THROW(NbdServer({{"", "", &memory, false}}, options), std::invalid_argument);
  };
  refused(0, 4096, 1 << 20);
  refused(3, 4096, 1 << 20);
  refused(128 * KiB, 128 * KiB, 1 << 20);
  refused(1, 100, 1 << 20);
  refused(1, 256, 1 << 20);
  refused(4096, 512, 1 << 20);
  refused(1, 4096, 512);
  refused(512, 4096, (1 << 20) + 1);
  const std::vector<NbdExport> twice{{"a", "", &memory, false}, {"a", "", &memory, false}};
  EXPECT_THROW(NbdServer(twice, {}), std::invalid_argument);
  EXPECT_THROW(NbdServer({{std::string(4097, 'a'), "", &memory, false}}, {}), std::invalid_argument);
}

}  // namespace
}  // namespace r3
