// SPDX-License-Identifier: Apache-2.0
// What a hostile server may send an NBD client: in answers, and in the handshake.
#include <gtest/gtest.h>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_client.hpp"
#include "tests/unit/nbd_double.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {
namespace {

using namespace nbd;
using namespace std::chrono_literals;

using Bytes8 = std::vector<std::byte>;

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

}  // namespace
}  // namespace r3::test
