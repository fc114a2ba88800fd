// SPDX-License-Identifier: Apache-2.0
// The NBD server's replies in chunks, with extended headers too: reads, holes, errors and block status.
#include <gtest/gtest.h>

#include "libcommon/base/error.hpp"
#include "tests/unit/nbd_transmission.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

class NbdReplies : public NbdTransmission {};
INSTANTIATE_TEST_SUITE_P(, NbdReplies, testing::Bool(), who_answers);

TEST_P(NbdReplies, StructuredReadsComeInChunksThatCoverTheRange) {
  memory->write_at(numbered(3'000'000), 0);
  auto structured = server.structured();
  structured.request(kRead, 1000, 2'900'000);
  ByteString whole(2'900'000);
  std::uint64_t covered = 0;
  for (bool done = false; !done;) {
    const auto chunk = structured.chunk();
    done = chunk.done();
    EXPECT_EQ(chunk.cookie, 7U);
    if (chunk.type == kChunkNone) continue;
    ASSERT_EQ(chunk.type, kChunkOffsetData);
    const auto at = load_be<std::uint64_t>(chunk.payload.data()) - 1000;
    std::copy(chunk.payload.begin() + 8, chunk.payload.end(), whole.begin() + static_cast<long>(at));
    covered += chunk.payload.size() - 8;
  }
  EXPECT_EQ(covered, whole.size());
  EXPECT_TRUE(std::equal(whole.begin(), whole.end(), &memory->bytes()[1000]));
}

TEST_P(NbdReplies, DontFragmentMeansOneChunk) {
  auto structured = server.structured();
  for (const std::uint32_t length : {512U, 65536U, 3'000'000U}) {
    structured.request(kRead, 0, length, kDf);
    auto chunk = structured.chunk();
    EXPECT_EQ(chunk.type, kChunkOffsetData);
    EXPECT_EQ(chunk.payload.size(), length + 8);
    if (!chunk.done()) {
      chunk = structured.chunk();
      EXPECT_EQ(chunk.type, kChunkNone);
      EXPECT_TRUE(chunk.done());
    }
  }
}

TEST_P(NbdReplies, StructuredErrorsAreChunks) {
  auto structured = server.structured();
  for (const std::uint16_t flags : {std::uint16_t{0}, std::uint16_t{kFua | kDf}}) {
    structured.request(kRead, kSize, 512, flags);
    const auto chunk = structured.chunk();
    EXPECT_EQ(chunk.type, kChunkError);
    EXPECT_TRUE(chunk.done());
    EXPECT_EQ(chunk.error(), kEInval);
  }
  EXPECT_EQ(structured.transact(kTrim, kSize, 1), kEInval);
  structured.request(kRead, 0, 0);
  EXPECT_TRUE(structured.chunk().done());
}

TEST_P(NbdReplies, BlockStatusTellsDataFromHoles) {
  memory->write_at(filled(65536, 1), MiB);
  auto structured = server.structured(true);
  const auto ask = [&](std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
    structured.request(kBlockStatus, offset, length, flags);
    const auto chunk = structured.chunk();
    EXPECT_TRUE(chunk.done());
    EXPECT_EQ(chunk.type, kChunkBlockStatus);
    EXPECT_EQ(load_be<std::uint32_t>(chunk.payload.data()), 1U);
    return ByteString(chunk.payload.begin() + 4, chunk.payload.end());
  };
  const std::uint32_t hole = kStateHole | kStateZero;
  EXPECT_EQ(ask(0, kSize, 0),
            join(StatusDescriptor{std::uint32_t{MiB}, hole}, StatusDescriptor{65536U, 0U},
                 StatusDescriptor{std::uint32_t{kSize - MiB - 65536}, hole}));
  EXPECT_EQ(ask(MiB, MiB, kReqOne), join(StatusDescriptor{65536U, 0U}));
  EXPECT_EQ(ask(MiB + 5, 6, kReqOne), join(StatusDescriptor{6U, 0U}));
  structured.request(kBlockStatus, 0, 0);
  EXPECT_EQ(structured.chunk().error(), kEInval);
  structured.request(kBlockStatus, kSize - 1, 2);
  EXPECT_EQ(structured.chunk().error(), kEInval);
}

TEST_P(NbdReplies, ExtendedHeaders) {
  memory->write_at(filled(65536, 1), MiB);
  auto extended = server.extended(true);
  extended.extended(kWrite, 4096, 512, kPayloadLength);
  extended.send(filled(512, 3));
  auto chunk = extended.extended_chunk();
  EXPECT_EQ(chunk.type, kChunkNone);
  EXPECT_TRUE(chunk.done());
  EXPECT_EQ(chunk.offset, 4096U);

  extended.extended(kRead, 4096, 512);
  chunk = extended.extended_chunk();
  EXPECT_EQ(chunk.type, kChunkOffsetData);
  EXPECT_EQ(chunk.payload, join(Be64(4096), filled(512, 3)));

  extended.extended(kBlockStatus, MiB, kSize - MiB);
  chunk = extended.extended_chunk();
  EXPECT_EQ(chunk.type, kChunkBlockStatusExt);
  EXPECT_EQ(chunk.payload, join(Be32(1), Be32(2), ExtendedStatusDescriptor{65536ULL, 0ULL},
                                ExtendedStatusDescriptor{kSize - MiB - 65536, 3ULL}));

  extended.extended(kTrim, 0, 1ULL << 62);
  EXPECT_EQ(extended.extended_chunk().error(), kEInval);
  extended.extended(kWriteZeroes, 0, kSize);
  EXPECT_EQ(extended.extended_chunk().type, kChunkNone);
  EXPECT_TRUE(all_zero(memory->bytes()));

  // A write has to say that it carries data; with the flag on other commands what follows is skipped.
  extended.extended(kWrite, 4096, 512);
  extended.send(filled(512, 3));
  EXPECT_EQ(extended.extended_chunk().error(), kEInval);
  EXPECT_TRUE(all_zero(memory->bytes()));
  extended.extended(kTrim, 0, 512, kPayloadLength);
  extended.send(filled(512, 3));
  EXPECT_EQ(extended.extended_chunk().error(), kEInval);
  extended.extended(kFlush, 0, 0);
  EXPECT_EQ(extended.extended_chunk().type, kChunkNone);
  extended.extended(kWrite, 0, 1ULL << 33, kPayloadLength);
  EXPECT_TRUE(extended.closed());
}

TEST(NbdBlockSizes, AreEnforced) {
  MemoryBackend memory(MiB + 100);
  memory.write_at(filled(4096 + 100, 1), 8192);
  NbdServerOptions options;
  options.minimum_block = 4096;
  options.maximum_block = 65536;
  WireServer server({{"", "", &memory, false}}, options);
  auto client = server.structured(true);
  EXPECT_EQ(client.size, MiB);
  const auto error = [&](std::uint16_t type, std::uint64_t offset, std::uint32_t length) {
    client.request(type, offset, length);
    return client.chunk().error();
  };
  EXPECT_EQ(error(kRead, 512, 4096), kEInval);
  EXPECT_EQ(error(kRead, 0, 512), kEInval);
  EXPECT_EQ(error(kRead, 0, 69632), kEInval);
  EXPECT_EQ(client.transact(kTrim, 0, 100), kEInval);
  EXPECT_EQ(client.transact(kTrim, 0, 524288), kOk);
  client.request(kWrite, 0, 69632);
  client.send(filled(69632, 1));
  EXPECT_EQ(client.simple(), kEInval);
}

// A status whose borders do not fit the minimum block never claims too much.
TEST(NbdBlockSizes, StatusIsRoundedToThem) {
  MemoryBackend memory(MiB);
  memory.write_at(filled(100, 1), 12288);
  NbdServerOptions options;
  options.minimum_block = 8192;
  options.preferred_block = 8192;
  WireServer server({{"", "", &memory, false}}, options);
  auto client = server.structured(true);
  client.request(kBlockStatus, 0, MiB);
  EXPECT_EQ(client.chunk().payload,
            join(Be32(1), StatusDescriptor{8192U, 3U}, StatusDescriptor{8192U, 0U},
                 StatusDescriptor{std::uint32_t{MiB - 16384}, 3U}));
}

// Row 11: lengths near 2^32 on more than 4 GiB.
TEST(NbdBlockStatus, DoesNotOverflow) {
  MemoryBackend memory(5 * GiB);
  memory.write_at(filled(1, 1), 4 * GiB + 65536);
  for (const std::uint32_t minimum : {1U, 65536U}) {
    NbdServerOptions options;
    options.minimum_block = minimum;
    options.preferred_block = 65536;
    WireServer server({{"", "", &memory, false}}, options);
    auto client = server.structured(true);
    for (const std::uint32_t length : {0xffffffffU, 0xfffff000U, 0xffff0000U}) {
      for (const std::uint64_t offset : {0ULL, 65536ULL, 131072ULL}) {
        client.request(kBlockStatus, offset, length);
        const auto chunk = client.chunk();
        if (length % minimum) {
          EXPECT_EQ(chunk.error(), kEInval);
          continue;
        }
        std::uint64_t covered = 0;
        for (std::size_t i = 4; i < chunk.payload.size(); i += 8) {
          const auto each = load_be<std::uint32_t>(&chunk.payload[i]);
          EXPECT_GT(each, 0U);
          covered += each;
        }
        EXPECT_GE(chunk.payload.size(), 12U);
        EXPECT_LE(covered, length);
      }
    }
  }
}

TEST(NbdSparseReads, HolesTravelAsHoles) {
  MemoryBackend memory(4 * MiB);
  memory.write_at(filled(8192, 6), MiB);
  WireServer server({{"", "", &memory, false}});
  auto client = server.structured();
  client.request(kRead, 0, 4 * MiB);
  auto chunk = client.chunk();
  EXPECT_EQ(chunk.type, kChunkOffsetHole);
  EXPECT_EQ(chunk.payload, join(HoleChunk{0ULL, std::uint32_t{MiB}}));
  chunk = client.chunk();
  EXPECT_EQ(chunk.payload, join(Be64(MiB), filled(8192, 6)));
  chunk = client.chunk();
  EXPECT_EQ(chunk.type, kChunkOffsetHole);
  EXPECT_TRUE(chunk.done());
  client.request(kRead, 0, 4 * MiB, kDf);
  EXPECT_EQ(client.chunk().payload.size(), 4 * MiB + 8);
}

}  // namespace
}  // namespace r3
