// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <random>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/nbd_double.hpp"

namespace r3::test {
namespace {

using namespace nbd;
using namespace std::chrono_literals;

BackendUnderTest make(DoubleOptions options, unsigned connections = 1) {
  auto server = std::make_shared<NbdDouble>(std::move(options));
  NbdClientOptions client;
  client.connections = connections;
  return {open_nbd(server->address(), "", client), server};
}

BackendUnderTest make_structured(std::uint64_t size) { return make({.size = size}); }

BackendUnderTest make_simple(std::uint64_t size) {
  return make({.size = size, .structured = false});
}

BackendUnderTest make_oldest(std::uint64_t size) {
  return make({.size = size, .flags = kHasFlags, .hello_flags = 0, .structured = false});
}

BackendUnderTest make_parallel(std::uint64_t size) {
  DoubleOptions options{.size = size};
  options.flags |= kCanMultiConn;
  return make(options, 3);
}

BackendUnderTest make_blocks(std::uint64_t size) {
  DoubleOptions options{.size = size};
  options.blocks = {std::uint16_t{kInfoBlockSize}, 512U, 4096U, 65536U};
  return make(options);
}

// The project's own server, over its own socket.
struct OwnServer {
  explicit OwnServer(std::uint64_t size) : memory(size), server({{"", "", &memory, false}}, {}) {
    group.spawn([this] {
      for (;;) {
        Fd connection = listener.accept(group.stop());
        if (!connection.valid()) return;
        group.spawn([this, fd = connection.release()] {
          try {
            server.serve(Channel(Fd(fd)), group.stop());
          } catch (const std::system_error&) {  // the client has gone
          }
        });
      }
    });
  }
  TemporaryDirectory directory;
  Listener listener{parse_address("unix:" + directory.path() + "/own")};
  MemoryBackend memory;
  NbdServer server;
  TaskGroup group;
};

BackendUnderTest make_own(std::uint64_t size) {
  auto server = std::make_shared<OwnServer>(size);
  return {open_nbd(server->listener.address(), "", {.connections = 2}), server};
}

BackendCase suite_case(const char* name, std::function<BackendUnderTest(std::uint64_t)> maker,
                       std::uint64_t granularity = 1) {
  BackendCase made{name, std::move(maker)};
  made.granularity = granularity;
  made.steps = 400;
  return made;
}

INSTANTIATE_TEST_SUITE_P(Nbd, BackendSuite,
                         testing::Values(suite_case("structured", make_structured),
                                         suite_case("simple", make_simple),
                                         suite_case("oldest", make_oldest),
                                         suite_case("parallel", make_parallel),
                                         suite_case("blocks", make_blocks, 512),
                                         suite_case("own", make_own)),
                         case_name);

// A warning for each lost connection is right, and noise here.
class NbdClient : public testing::Test {
 protected:
  NbdClient() { testing::internal::CaptureStderr(); }
  ~NbdClient() override { said(); }
  std::string said() {
    if (!std::exchange(captured_, false)) return {};
    return testing::internal::GetCapturedStderr();
  }
  bool captured_ = true;
};

std::vector<std::byte> filled(std::size_t length, int value) {
  return std::vector<std::byte>(length, static_cast<std::byte>(value));
}

TEST_F(NbdClient, CutsWhatIsTooLongForTheServer) {
  DoubleOptions options{.size = 5 * MiB};
  options.blocks = {std::uint16_t{kInfoBlockSize}, 1U, 4096U, 65536U};
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  std::vector<std::byte> bytes(3 * MiB + 5);
  std::minstd_rand random(1);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  client->write_at(bytes, 77);
  EXPECT_EQ(server.requests(kWrite), 49U);
  EXPECT_EQ(read_bytes(*client, 77, bytes.size()), bytes);
  EXPECT_EQ(client->block_size(), 4096U);
}

TEST_F(NbdClient, UsesSeveralConnectionsOnlyIfTheServerAllowsThat) {
  DoubleOptions options{.size = MiB};
  NbdDouble single(options);
  options.flags |= kCanMultiConn;
  NbdDouble several(options);
  const auto one = open_nbd(single.address(), "", {.connections = 4});
  const auto four = open_nbd(several.address(), "", {.connections = 4});
  EXPECT_EQ(single.connections(), 1U);
  EXPECT_EQ(several.connections(), 4U);
}

// fd:N, - and exec: are one connection: the next one would be nothing, or another server's.
TEST_F(NbdClient, UsesOneConnectionWhereTheNextIsToAnotherServer) {
  DoubleOptions options{.size = MiB};
  options.flags |= kCanMultiConn;
  NbdDouble server(options);
  const Stop never;
  const Channel here = connect_to(server.address(), 10s, never);
  const Address address{.kind = Address::Kind::fd, .fd = ::dup(here.input())};
  const auto client = open_nbd(address, "", {.connections = 4});
  EXPECT_EQ(server.connections(), 1U);
  EXPECT_EQ(client->size(), MiB);
  ::close(address.fd);
}

TEST_F(NbdClient, PassesTheServersErrorsOn) {
  DoubleOptions options{.size = MiB, .structured = false};
  options.answer = [](const Request& request, int socket) {
    std::vector<std::byte> reply;
    append(reply, SimpleReply{kSimpleReplyMagic, request.type == kFlush ? 28U : 4711U, request.cookie});
    send_bytes(socket, reply);
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  EXPECT_EQ(error_of([&] { client->flush(); }), ENOSPC);
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EIO);
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(NbdClient, GivesFuaWithEveryWriteWhereThereIsNoFlush) {
  DoubleOptions options{.size = MiB};
  options.flags = kHasFlags | kSendFua;
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  client->write_at(filled(4096, 7), 0);
  client->flush();
  EXPECT_EQ(server.durable()[4095], std::byte{7});
}

// --- What a hostile server may send -------------------------------------------------------------------

using Bytes8 = std::vector<std::byte>;

Bytes8 simple(std::uint64_t cookie, std::uint32_t error = 0) {
  Bytes8 bytes;
  append(bytes, SimpleReply{kSimpleReplyMagic, error, cookie});
  return bytes;
}

Bytes8 chunk(const Request& request, std::uint16_t flags, std::uint16_t type, const Bytes8& data) {
  Bytes8 bytes;
  append(bytes, ChunkHeader{kStructuredReplyMagic, flags, type, request.cookie,
                            static_cast<std::uint32_t>(data.size())});
  bytes.insert(bytes.end(), data.begin(), data.end());
  return bytes;
}

Bytes8 data_at(std::uint64_t offset, std::size_t length) {
  Bytes8 bytes;
  append(bytes, Be64(offset));
  bytes.resize(bytes.size() + length, std::byte{0xee});
  return bytes;
}

Bytes8 hole_at(std::uint64_t offset, std::uint32_t length) {
  Bytes8 bytes;
  append(bytes, HoleChunk{offset, length});
  return bytes;
}

Bytes8 operator+(Bytes8 a, const Bytes8& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Lie {
  const char* name;
  bool structured;
  Command command;
  std::function<Bytes8(const Request&)> bytes;
};

Bytes8 status(const Request& request, std::uint32_t id, std::vector<std::uint32_t> lengths) {
  Bytes8 data;
  append(data, Be32(id));
  for (const auto length : lengths) append(data, StatusDescriptor{length, 0U});
  return chunk(request, kChunkDone, kChunkBlockStatus, data);
}

// Each answers a request for 4096 bytes at 8192.
const Lie kLies[] = {
    {"unknown magic", false, kRead, [](const Request&) { return Bytes8(16, std::byte{0x25}); }},
    {"unknown cookie", false, kRead, [](const Request& r) { return simple(r.cookie + 1); }},
    {"cookie of an unused slot", false, kRead, [](const Request& r) { return simple(r.cookie + 5); }},
    {"the same reply twice", false, kWrite,
     [](const Request& r) { return simple(r.cookie + (1 << 20)) + simple(r.cookie); }},
    {"structured though not agreed on", false, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkNone, {}); }},
    {"simple read though structured", true, kRead,
     [](const Request& r) { return simple(r.cookie) + Bytes8(4096); }},
    {"over-long data", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(8192, 4097)); }},
    {"data before the range", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(8191, 4096)); }},
    {"data after the range", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(12288, 1)); }},
    {"data at an offset that wraps", true, kRead,
     [](const Request& r) {
       return chunk(r, kChunkDone, kChunkOffsetData, data_at(~std::uint64_t{0}, 4096));
     }},
    {"overlapping data", true, kRead,
     [](const Request& r) {
       return chunk(r, 0, kChunkOffsetData, data_at(8192, 3000)) +
              chunk(r, kChunkDone, kChunkOffsetData, data_at(11000, 1288));
     }},
    {"a hole over data", true, kRead,
     [](const Request& r) {
       return chunk(r, 0, kChunkOffsetData, data_at(8192, 4096)) +
              chunk(r, kChunkDone, kChunkOffsetHole, hole_at(8192, 4096));
     }},
    {"a hole that is too long", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetHole, hole_at(8192, ~0U)); }},
    {"an empty hole", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetHole, hole_at(8192, 0)); }},
    {"a hole in a wrong length", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetHole, data_at(8192, 5)); }},
    {"data without data", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(8192, 0)); }},
    {"a part only", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(8192, 4095)); }},
    {"nothing at all", true, kRead, [](const Request& r) { return chunk(r, kChunkDone, kChunkNone, {}); }},
    {"an empty chunk that is not the last", true, kRead,
     [](const Request& r) { return chunk(r, 0, kChunkNone, {}); }},
    {"an empty chunk with data", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkNone, Bytes8(4)); }},
    {"an unknown chunk", true, kRead, [](const Request& r) { return chunk(r, kChunkDone, 99, {}); }},
    {"data for a write", true, kWrite,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkOffsetData, data_at(8192, 4096)); }},
    {"an error that is none", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkError, Bytes8(6)); }},
    {"a short error", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkError, Bytes8(5, std::byte{1})); }},
    {"an error with too long a text", true, kRead,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkError, Bytes8(6, std::byte{1})); }},
    {"an endless error", true, kRead,
     [](const Request& r) {
       Bytes8 bytes;
       append(bytes, ChunkHeader{kStructuredReplyMagic, kChunkDone, std::uint16_t{kChunkError},
                                 r.cookie, ~0U});
       return bytes + Bytes8(64, std::byte{0});
     }},
    {"a simple end of a structured reply", true, kWrite,
     [](const Request& r) { return chunk(r, 0, kChunkError, Bytes8{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{5}, std::byte{0}, std::byte{0}}) + simple(r.cookie); }},
    {"a status for a read", true, kRead, [](const Request& r) { return status(r, 77, {4096}); }},
    {"a status of another context", true, kBlockStatus,
     [](const Request& r) { return status(r, 78, {4096}); }},
    {"a status without extents", true, kBlockStatus, [](const Request& r) { return status(r, 77, {}); }},
    {"an empty extent", true, kBlockStatus, [](const Request& r) { return status(r, 77, {0, 4096}); }},
    {"a status in a wrong length", true, kBlockStatus,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkBlockStatus, Bytes8(13)); }},
    {"a status that is done at once", true, kBlockStatus,
     [](const Request& r) { return chunk(r, kChunkDone, kChunkNone, {}); }},
    {"a simple status", true, kBlockStatus, [](const Request& r) { return simple(r.cookie); }},
};

TEST_F(NbdClient, BelievesNoLie) {
  for (const Lie& lie : kLies) {
    DoubleOptions options{.size = MiB, .structured = lie.structured};
    options.answer = [&](const Request& request, int socket) {
      if (request.type != lie.command) return false;
      send_bytes(socket, lie.bytes(request));
      return true;
    };
    NbdDouble server(options);
    const auto client = open_nbd(server.address(), "", {});
    // Around the place where the answer belongs: nothing may be written there.
    auto place = filled(3 * 4096, 0xaa);
    const auto into = Bytes(place).subspan(4096, 4096);
    const int error = error_of([&] {
      if (lie.command == kRead) client->read_at(into, 8192);
      if (lie.command == kWrite) client->write_at(into, 8192);
      if (lie.command == kBlockStatus) client->extents(8192, 4096, 4);
    });
    EXPECT_EQ(error, EPROTO) << lie.name;
    EXPECT_GE(server.connections(), 3U) << lie.name;  // it tried that often
    EXPECT_TRUE(std::equal(place.begin(), place.begin() + 4096, filled(4096, 0xaa).begin())) << lie.name;
    EXPECT_TRUE(std::equal(place.begin() + 8192, place.end(), filled(4096, 0xaa).begin())) << lie.name;
    // Others are served still.
    EXPECT_EQ(error_of([&] { client->flush(); }), 0) << lie.name;
  }
}

// The whole conversation of a server in the handshake: the client's answers are ignored.
int error_of_hello(const Bytes8& bytes) {
  DoubleOptions options;
  options.converse = [&](int socket) {
    send_bytes(socket, bytes);
    std::byte ignored[4096];
    while (read_full(socket, ignored) > 0) continue;
  };
  NbdDouble server(options);
  try {
    open_nbd(server.address(), "", {.connect_timeout = 5s});
  } catch (...) {
    return errno_of_current_exception();
  }
  return 0;
}

Bytes8 hello() {
  Bytes8 bytes;
  append(bytes, Hello{kHelloMagic, kOptionMagic, static_cast<std::uint16_t>(kFixedNewstyle | kNoZeroes)});
  return bytes;
}

Bytes8 option_reply(std::uint32_t option, std::uint32_t type, const Bytes8& data = {}) {
  Bytes8 bytes;
  append(bytes, OptionReply{kOptionReplyMagic, option, type, static_cast<std::uint32_t>(data.size())});
  return bytes + data;
}

Bytes8 info_export(std::uint64_t size, std::uint16_t flags = kHasFlags) {
  Bytes8 bytes;
  append(bytes, InfoExport{std::uint16_t{kInfoExport}, size, flags});
  return bytes;
}

Bytes8 info_blocks(std::uint32_t minimum, std::uint32_t preferred, std::uint32_t maximum) {
  Bytes8 bytes;
  append(bytes, InfoBlockSize{std::uint16_t{kInfoBlockSize}, minimum, preferred, maximum});
  return bytes;
}

TEST_F(NbdClient, BelievesNoLieInTheHandshake) {
  const auto no_structured = hello() + option_reply(kOptStructuredReply, kRepErrUnsupported);
  const auto go = [&](const Bytes8& info) {
    return no_structured + option_reply(kOptGo, kRepInfo, info) + option_reply(kOptGo, kRepAck);
  };
  EXPECT_EQ(error_of_hello(go(info_export(4096))), 0);
  Bytes8 oldstyle;
  append(oldstyle, Hello{kHelloMagic, std::uint64_t{0x00420281861253}, std::uint16_t{0}});
  EXPECT_EQ(error_of_hello(oldstyle + Bytes8(200)), EPROTO);
  EXPECT_EQ(error_of_hello(Bytes8(18, std::byte{'x'})), EPROTO);
  EXPECT_EQ(error_of_hello(hello() + Bytes8(20)), EPROTO);
  EXPECT_EQ(error_of_hello(hello() + option_reply(kOptGo, kRepAck)), EPROTO);
  EXPECT_EQ(error_of_hello(go(info_export(1ULL << 63))), EPROTO);
  EXPECT_EQ(error_of_hello(go(info_export((1ULL << 63) - 1))), 0);
  EXPECT_EQ(error_of_hello(go(info_export(4096, 0))), EPROTO);
  EXPECT_EQ(error_of_hello(go(info_export(4096) + Bytes8(1))), EPROTO);
  EXPECT_EQ(error_of_hello(go(Bytes8(11))), EPROTO);
  EXPECT_EQ(error_of_hello(go(Bytes8(1))), EPROTO);
  EXPECT_EQ(error_of_hello(no_structured + option_reply(kOptGo, kRepAck)), EPROTO);
  EXPECT_EQ(error_of_hello(no_structured + option_reply(kOptGo, kRepServer)), EPROTO);
  const auto with_blocks = [&](const Bytes8& blocks) {
    return no_structured + option_reply(kOptGo, kRepInfo, blocks) + option_reply(kOptGo, kRepInfo, info_export(65536)) +
           option_reply(kOptGo, kRepAck);
  };
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(1, 4096, ~0U))), 0);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(0, 4096, ~0U))), EPROTO);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(3, 4096, ~0U))), EPROTO);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(131072, 131072, ~0U))), EPROTO);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(4096, 512, ~0U))), EPROTO);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(512, 4096, 256))), EPROTO);
  EXPECT_EQ(error_of_hello(with_blocks(info_blocks(1, 4096, 65536) + Bytes8(2))), EPROTO);
  Bytes8 huge;
  append(huge, OptionReply{kOptionReplyMagic, std::uint32_t{kOptStructuredReply}, std::uint32_t{kRepAck}, ~0U});
  EXPECT_EQ(error_of_hello(hello() + huge), EPROTO);
  Bytes8 endless = no_structured;
  for (int i = 0; i < 2000; ++i) endless = endless + option_reply(kOptGo, kRepInfo, info_export(4096));
  EXPECT_EQ(error_of_hello(endless), EPROTO);
}

TEST_F(NbdClient, SaysWhyTheServerRefuses) {
  const auto no_structured = hello() + option_reply(kOptStructuredReply, kRepErrUnsupported);
  const auto refuse = [&](std::uint32_t type) { return no_structured + option_reply(kOptGo, type); };
  EXPECT_EQ(error_of_hello(refuse(kRepErrUnknown)), ENOENT);
  EXPECT_EQ(error_of_hello(refuse(kRepErrPolicy)), EACCES);
  EXPECT_EQ(error_of_hello(refuse(kRepErrTlsRequired)), EPROTONOSUPPORT);
  EXPECT_EQ(error_of_hello(refuse(kRepErrShutdown)), ESHUTDOWN);
}

TEST_F(NbdClient, DoesNotWaitForEverForAHandshake) {
  DoubleOptions options;
  options.converse = [](int socket) {
    std::byte ignored[1];
    read_full(socket, ignored);
  };
  NbdDouble server(options);
  EXPECT_EQ(error_of([&] { open_nbd(server.address(), "", {.connect_timeout = 20ms}); }), ETIMEDOUT);
  Stop stop;
  stop.request();
  EXPECT_EQ(error_of([&] { open_nbd(server.address(), "", {.stop = &stop}); }), ECANCELED);
}

TEST_F(NbdClient, NamesTheCommandThatEnded) {
  try {
    open_nbd(parse_address("exec:exit 3"), "", {});
    ADD_FAILURE();
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("status 3"), std::string::npos) << error.what();
  }
}

// --- Outages ------------------------------------------------------------------------------------------

TEST_F(NbdClient, RidesOutAnOutage) {
  NbdDouble server({.size = MiB});
  std::atomic<unsigned> lost = 0, back = 0;
  NbdClientOptions options;
  options.on_change = [&](bool connected) { ++(connected ? back : lost); };
  const auto client = open_nbd(server.address(), "", options);
  client->write_at(filled(4096, 1), 0);
  server.stop();
  std::thread restarter([&] { server.start(); });
  EXPECT_EQ(read_bytes(*client, 0, 4096), filled(4096, 1));
  restarter.join();
  EXPECT_EQ(lost, 1U);
  EXPECT_EQ(said().find("connection lost") == std::string::npos, false);
}

TEST_F(NbdClient, WritesAgainWhatACrashedServerLost) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  client->write_at(filled(8192, 1), 0);
  client->flush();
  client->write_at(filled(4096, 2), 0);
  client->write_at(filled(4096, 3), 2048);
  client->zero_at(3000, 100, {});
  server.crash();
  auto expected = filled(2048, 2);
  expected.resize(6144, std::byte{3});
  std::fill_n(expected.begin() + 3000, 100, std::byte{0});
  expected.resize(8192, std::byte{1});
  EXPECT_EQ(read_bytes(*client, 0, 8192), expected);
  client->flush();
  const auto durable = server.durable();
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), durable.begin()));
}

TEST_F(NbdClient, FlushesByItselfBeforeItKeepsTooMuch) {
  NbdDouble server({.size = 64 * MiB});
  const auto client = open_nbd(server.address(), "", {});
  const auto bytes = filled(MiB, 9);
  for (std::uint64_t at = 0; at < 40 * MiB; at += MiB) client->write_at(bytes, at);
  EXPECT_GE(server.requests(kFlush), 2U);
  server.crash();
  for (std::uint64_t at = 0; at < 40 * MiB; at += MiB)
    ASSERT_EQ(read_bytes(*client, at, MiB), bytes) << at;
}

// Crashes in the middle of random work: nothing that was acknowledged is lost, and nobody hangs.
void survive_crashes(unsigned crashes, unsigned connections, bool structured) {
  constexpr std::uint64_t slice = 256 * KiB;
  constexpr unsigned workers = 4;
  DoubleOptions options{.size = workers * slice, .structured = structured};
  options.flags |= kCanMultiConn;
  NbdDouble server(options);
  NbdClientOptions client_options;
  client_options.connections = connections;
  const auto client = open_nbd(server.address(), "", client_options);
  std::vector<std::byte> oracle(options.size);
  TaskGroup group;
  for (unsigned worker = 0; worker < workers; ++worker) {
    group.spawn([&, worker] {
      std::minstd_rand random(worker + 1);
      while (server.crashes() < crashes) {
        const auto offset = worker * slice + random() % (slice - 9000);
        const auto length = 1 + random() % 9000;
        const auto begin = oracle.begin() + static_cast<long>(offset);
        switch (random() % 8) {
          case 0:
            client->flush();
            break;
          case 1:
            client->zero_at(offset, length, {});
            std::fill_n(begin, length, std::byte{0});
            break;
          case 2:
          case 3:
          case 4:
            std::generate_n(begin, length, [&] { return static_cast<std::byte>(random()); });
            client->write_at({&*begin, length}, offset);
            break;
          default:
            const auto got = read_bytes(*client, offset, length);
            if (!std::equal(got.begin(), got.end(), begin)) throw std::runtime_error("wrong bytes");
        }
        if (worker == 0 && random() % 32 == 0) server.crash_after(1 + static_cast<unsigned>(random() % 50));
      }
    });
  }
  group.join();
  EXPECT_EQ(read_bytes(*client, 0, oracle.size()), oracle);
  server.crash_after(0);
  client->flush();
  EXPECT_EQ(server.durable(), oracle);
}

TEST_F(NbdClient, LosesNothingInCrashes) { survive_crashes(60, 1, true); }
TEST_F(NbdClient, LosesNothingInCrashesOfSeveralConnections) { survive_crashes(20, 3, false); }

TEST_F(NbdClient, OverlappingWritesStayInTheirOrder) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  for (int round = 0; round < 30; ++round) {
    TaskGroup group;
    for (int worker = 0; worker < 4; ++worker)
      group.spawn([&, worker] { client->write_at(filled(100'000, 1 + worker), 50'000); });
    group.join();
    const auto before = read_bytes(*client, 50'000, 100'000);
    server.crash();
    ASSERT_EQ(read_bytes(*client, 50'000, 100'000), before);
  }
}

TEST_F(NbdClient, AnOutageBecomesAnErrorOnlyAfterTheTimeout) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  server.stop();
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EIO);
  server.start();
  // Sooner or later it is back.
  while (error_of([&] { read_bytes(*client, 0, 1); }) != 0) continue;
}

// Each piece that waited on its own would be asked for again in a session of its own.
TEST_F(NbdClient, AnOutageIsOneForAllPiecesOfACall) {
  DoubleOptions options{.size = 16 * MiB};
  options.answer = [](const Request& request, int) { return request.type == kRead; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 16 * MiB); }), EIO);
  EXPECT_LE(server.requests(kRead), 16U);
}

TEST_F(NbdClient, AServerThatHangsBecomesAnError) {
  DoubleOptions options{.size = 8 * MiB};
  std::atomic<bool> hangs = true;
  options.answer = [&](const Request& request, int) { return hangs && request.type != kFlush; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  TaskGroup group;
  for (int worker = 0; worker < 3; ++worker)
    group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 3 * MiB); }), EIO); });
  group.join();
  EXPECT_EQ(error_of([&] { client->write_at(filled(1, 1), 0); }), EIO);
  hangs = false;
  while (error_of([&] { client->write_at(filled(8 * MiB, 1), 0); }) != 0) continue;
}

TEST_F(NbdClient, AbandonEndsEverything) {
  DoubleOptions options{.size = MiB};
  options.answer = [](const Request& request, int) { return request.type == kRead; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  TaskGroup group;
  for (int worker = 0; worker < 3; ++worker)
    group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), ESHUTDOWN); });
  while (server.requests(kRead) < 3) std::this_thread::yield();
  client->abandon();
  group.join();
  EXPECT_EQ(error_of([&] { client->flush(); }), ESHUTDOWN);
}

TEST_F(NbdClient, AbandonEndsAnOutage) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  server.stop();
  TaskGroup group;
  group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), ESHUTDOWN); });
  client->abandon();
  group.join();
}

TEST_F(NbdClient, RefusesAnotherExportAfterAnOutage) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  server.stop();
  server.options().size = MiB / 2;
  server.start();
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EPROTO);
}

TEST_F(NbdClient, AServerThatShutsDownIsWaitedFor) {
  DoubleOptions options{.size = MiB, .structured = false};
  std::atomic<unsigned> refusals = 2;
  options.answer = [&](const Request& request, int socket) {
    if (refusals == 0) return false;
    --refusals;
    send_bytes(socket, simple(request.cookie, kEShutdown));
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  EXPECT_EQ(read_bytes(*client, 0, 4), filled(4, 0));
}

TEST_F(NbdClient, ManyThreadsShareAConnectionThatIsFullBothWays) {
  NbdDouble server({.size = 16 * MiB});
  const auto client = open_nbd(server.address(), "", {});
  TaskGroup group;
  for (unsigned worker = 0; worker < 4; ++worker) {
    group.spawn([&, worker] {
      const auto mine = filled(2 * MiB, static_cast<int>(worker) + 1);
      for (int round = 0; round < 4; ++round) {
        client->write_at(mine, worker * 4 * MiB);
        EXPECT_EQ(read_bytes(*client, worker * 4 * MiB, 2 * MiB), mine);
      }
    });
  }
  group.join();
}

// The only answer that is due comes while a request is half sent: one thread takes it, and the sender,
// who has seen it too, must not wait for another one while the server waits for the rest.
TEST_F(NbdClient, ASenderDoesNotWaitForAnAnswerThatAnotherThreadTook) {
  DoubleOptions options{.size = 4 * MiB, .flags = kHasFlags, .structured = false};
  options.answer = [](const Request& request, int socket) {
    send_bytes(socket, simple(request.cookie));  // before it takes more
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 10s});
  TaskGroup group;
  for (unsigned worker = 0; worker < 16; ++worker) {
    group.spawn([&, worker] {
      const auto mine = filled(256 * KiB, 1);
      for (int round = 0; round < 500; ++round) client->write_at(mine, worker * 256 * KiB);
    });
  }
  group.join();
}

}  // namespace
}  // namespace r3::test
