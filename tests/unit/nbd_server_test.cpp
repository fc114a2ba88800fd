// SPDX-License-Identifier: Apache-2.0
// The handshake of the NBD server, byte by byte.
#include "libcommon/net/nbd_server.hpp"

#include <gtest/gtest.h>

#include "libcommon/base/error.hpp"
#include "tests/unit/nbd_handshake.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

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
