// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_frame_reader.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "libcommon/net/r3_payload.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/r3_host.hpp"

namespace {

using namespace r3;
using namespace r3::wire;

std::vector<std::byte> frame(Header header, std::string_view payload, std::uint64_t sequence,
                             bool sums = true) {
  header.payload = static_cast<std::uint32_t>(payload.size());
  std::vector<std::byte> out(kMaxPrelude);
  out.resize(store_prelude(out.data(), header, as_bytes(payload), sums, sequence));
  const auto bytes = as_bytes(payload);
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

void give(FrameReader& reader, ConstBytes bytes) {
  while (!bytes.empty()) {
    const auto space = reader.space();
    const auto n = std::min(space.size(), bytes.size());
    std::copy_n(bytes.begin(), n, space.begin());
    reader.received(n);
    bytes = bytes.subspan(n);
  }
}

TEST(R3Frame, HeaderIsWhatThePageSays) {
  const Header header{0x12, 0x34, 0x5678, 3, 0x1122334455667788, 0x99aabbccddeeff00, 0x01020304,
                      0x05060708};
  std::byte bytes[kHeaderSize];
  store(bytes, header);
  const unsigned char expected[] = {0x12, 0x34, 0x78, 0x56, 3,    0,    0,    0,    0x88, 0x77, 0x66,
                                    0x55, 0x44, 0x33, 0x22, 0x11, 0x00, 0xff, 0xee, 0xdd, 0xcc, 0xbb,
                                    0xaa, 0x99, 4,    3,    2,    1,    8,    7,    6,    5};
  EXPECT_EQ(std::memcmp(bytes, expected, kHeaderSize), 0);
  EXPECT_EQ(load(bytes).offset, header.offset);
}

TEST(R3Frame, AnyChangedBitIsFound) {
  Header write;
  write.type = static_cast<std::uint8_t>(Type::write);
  write.length = 11;
  const auto good = frame(write, "hello world", 0);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte(1 << bit % 8);
    FrameReader reader(Side::server, true, 64 * KiB);
    give(reader, bad);
    EXPECT_THROW((void)reader.payload(), ProtocolError) << "bit " << bit;
  }
}

TEST(R3Frame, RepeatedAndMovedFramesAreFound) {
  Header ping;
  ping.type = static_cast<std::uint8_t>(Type::ping);
  const auto first = frame(ping, "", 0), second = frame(ping, "", 1);
  FrameReader reader(Side::server, true, 64 * KiB);
  give(reader, first);
  ASSERT_TRUE(reader.payload());
  reader.pop();
  give(reader, first);
  EXPECT_THROW(reader.header(), ProtocolError);
  FrameReader other(Side::server, true, 64 * KiB);
  give(other, second);
  EXPECT_THROW(other.header(), ProtocolError);
}

TEST(R3Frame, PromisesTakeNoMemory) {
  Header write;
  write.type = static_cast<std::uint8_t>(Type::write);
  write.length = write.payload = 32 * MiB;
  FrameReader reader(Side::server, false, 32 * MiB);
  std::byte bytes[kHeaderSize];
  store(bytes, write);
  give(reader, bytes);
  EXPECT_FALSE(reader.payload());
  EXPECT_LE(reader.space().size(), 16 * KiB);
  write.length = 4;
  write.payload = 5;
  store(bytes, write);
  FrameReader strict(Side::server, false, 32 * MiB);
  give(strict, bytes);
  EXPECT_THROW(strict.header(), ProtocolError);
}

TEST(R3Payload, FormsComeBackAsTheyWere) {
  std::vector<std::byte> data(64 * KiB), back(data.size());
  Packer packer;
  Unpacker unpacker;
  const auto round = [&](std::uint8_t form, double rate) {
    const Packed packed = packer.pack(data, true, rate);
    EXPECT_EQ(packed.flags, form);
    unpacker.unpack(packed.flags, packed.bytes, back);
    EXPECT_EQ(data, back);
  };
  round(kZeroes, 0);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i % 8);
  round(kRepeat, 0);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i / 100 % 251);
  round(0, 0);       // the link is not what is slow
  round(kZstd, 1e6); // it is
}

TEST(R3Payload, BombsAreStopped) {
  std::vector<std::byte> data(1 * MiB), into(4096);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = std::byte(i / 100 % 251);
  EXPECT_THROW(Unpacker().unpack(kZstd, as_bytes("nonsense"), into), ProtocolError);
  Packer packer;
  const Packed packed = packer.pack(data, true, 1);
  ASSERT_EQ(packed.flags, kZstd);
  EXPECT_THROW(Unpacker().unpack(kZstd, packed.bytes, into), ProtocolError);
  EXPECT_THROW(Unpacker().unpack(kZstd | kRepeat, packed.bytes, into), ProtocolError);
}

// A client by hand, on one end of a socket pair with a server at the other.
class ByHand {
 public:
  explicit ByHand(std::uint64_t size) : memory_(size), server_({{"", &memory_}}, {}) {
    SocketPair pair = make_socket_pair();
    link_ = make_plain_link(Channel(std::move(pair.ours)));
    threads_.spawn([this, fd = pair.theirs.release()] {
      const auto link = make_plain_link(Channel(Fd(fd)));
      try {
        server_.serve(*link, true, {}, threads_.stop());
      } catch (const std::exception&) {
        // The test looks at what the client sees.
      }
    });
    send(Header{.type = 1}, encode(Hello{.features = 31}));
    EXPECT_EQ(receive().error, 0);
  }
  void send(Header header, std::string_view payload = {}) {
    const auto bytes = frame(header, payload, sent_++);
    const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    write_all(*link_, {&part, 1}, stop_, 10'000);
  }
  Header receive() {
    std::byte prelude[kMaxPrelude];
    if (read_all(*link_, prelude, stop_, 10'000) < sizeof prelude) return Header{.error = ECONNRESET};
    const Header header = load(prelude);
    std::vector<std::byte> payload(header.payload);
    read_all(*link_, payload, stop_, 10'000);
    return header;
  }
  MemoryBackend& memory() { return memory_; }

 private:
  MemoryBackend memory_;
  R3Server server_;
  std::unique_ptr<Link> link_;
  std::uint64_t sent_ = 0;
  Stop stop_;
  TaskGroup threads_;
};

TEST(R3Server, ImpossibleRangesAreErrors) {
  ByHand client(1 * MiB);
  const auto error_of = [&](Header header) {
    client.send(header);
    return client.receive().error;
  };
  const std::uint64_t end = ~std::uint64_t{0};
  EXPECT_EQ(error_of({.type = 2, .offset = end, .length = 2}), EINVAL);
  EXPECT_EQ(error_of({.type = 2, .offset = 1 * MiB, .length = 1}), EINVAL);
  EXPECT_EQ(error_of({.type = 2, .length = 0xffffffff}), EOVERFLOW);
  EXPECT_EQ(error_of({.type = 4, .offset = end - 10, .length = 0xffffffff, .aux = 0xffffffff}), ENOSPC);
  EXPECT_EQ(error_of({.type = 7, .offset = 0, .length = 0, .aux = 1}), EINVAL);
  EXPECT_EQ(error_of({.type = 8, .offset = 0, .length = 1 << 20, .aux = 0}), EINVAL);
  EXPECT_EQ(error_of({.type = 8, .offset = 0, .length = 1 << 20, .aux = 1}), EINVAL);
  EXPECT_EQ(error_of({.type = 3, .flags = kZeroes, .offset = 1 * MiB, .length = 8}), ENOSPC);
  EXPECT_EQ(error_of({.type = 9, .flags = kBackground}), EINVAL);
  EXPECT_EQ(error_of({.type = 32}), EOPNOTSUPP);
  EXPECT_EQ(error_of({.type = 100}), EOPNOTSUPP);
  EXPECT_EQ(error_of({.type = 2, .length = 100}), 0) << "the connection still works";
}

TEST(R3Server, NonsenseEndsTheConnection) {
  for (const Header& bad : {Header{.type = 1}, Header{.type = 1, .flags = kMore}, Header{.type = 0x82}, Header{.type = 3, .length = 8}}) {
    ByHand client(1 * MiB);
    client.send(bad);
    EXPECT_EQ(client.receive().error, ECONNRESET) << int{bad.type};
  }
}

TEST(R3Server, SmallReadsOvertakeBackgroundPieces) {
  ByHand client(1 * MiB);
  std::vector<std::byte> noise(1 * MiB);
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = std::byte(i * 2654435761u >> 13);
  client.memory().write_at(noise, 0);
  for (std::uint64_t i = 0; i < 8; ++i)
    client.send({.type = 2, .flags = kBackground, .id = i, .length = 1 << 20});
  client.send({.type = 2, .id = 100, .length = 4096});
  unsigned before = 0;
  for (Header reply = client.receive(); reply.id != 100; reply = client.receive()) {
    ASSERT_EQ(reply.error, 0);
    ++before;
  }
  EXPECT_LT(before, 8 * 16 / 2u) << "of 128 pieces";
}

}  // namespace
