// SPDX-License-Identifier: Apache-2.0
// The transmission phase of the NBD server: what each command does, what it refuses, and that the
// stream stays in step whatever is asked.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <random>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/nbd_transmission.hpp"

namespace r3 {
namespace {

using namespace nbd;
using namespace test;

INSTANTIATE_TEST_SUITE_P(, NbdTransmission, testing::Bool(), who_answers);

TEST_P(NbdTransmission, WritesAndReadsOfAllSizes) {
  for (const std::size_t size : {1, 512, 4096, 100'000, 131'072, 1'000'000, 1'048'576, 1'048'577,
                                 3'000'000}) {
    const auto bytes = numbered(size);
    EXPECT_EQ(write(1234, bytes), kOk);
    EXPECT_EQ(read(1234, static_cast<std::uint32_t>(size)), bytes) << size;
    EXPECT_EQ(ConstBytes(memory->bytes())[1233], std::byte{0});
    EXPECT_EQ(memory->bytes()[1234 + size], std::byte{0});
  }
}

TEST_P(NbdTransmission, ManyInFlightAreAllAnsweredOnce) {
  const auto bytes = numbered(kSize);
  memory->write_at(bytes, 0);
  ByteString requests;
  constexpr unsigned kCount = 2000;
  for (unsigned i = 0; i < kCount; ++i)
    append(requests, join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kRead},
                                  std::uint64_t{i}, i * 4096ULL, 4096U}));
  std::thread sender([&] { client.send(requests); });
  std::vector<bool> seen(kCount);
  for (unsigned i = 0; i < kCount; ++i) {
    const auto head = client.receive(sizeof(SimpleReply));
    ASSERT_FALSE(head.empty());
    const std::uint64_t cookie = reinterpret_cast<const SimpleReply*>(head.data())->cookie;
    ASSERT_LT(cookie, kCount);
    EXPECT_FALSE(seen[cookie]);
    seen[cookie] = true;
    const auto data = client.receive(4096);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), &bytes[cookie * 4096]));
  }
  sender.join();
}

// Row 3 of the attacks: every command at, across and far beyond the end.
TEST_P(NbdTransmission, RangesBeyondTheEndHaveTheRightError) {
  const std::vector<std::pair<std::uint64_t, std::uint32_t>> ranges = {
      {kSize, 1}, {kSize - 1, 2}, {kSize + 1, 1}, {0, kSize + 1}, {1ULL << 63, 1},
      {(1ULL << 63) - 1, 2}, {~0ULL, 1}, {~0ULL, 0xffffffff}, {~0ULL - 4095, 4096}, {kSize, 0xffffffff}};
  const std::vector<std::pair<std::uint16_t, WireError>> commands = {
      {kRead, kEInval}, {kTrim, kEInval}, {kCache, kEInval}, {kWriteZeroes, kENoSpc}};
  for (const auto& [offset, length] : ranges)
    for (const auto& [command, error] : commands)
      EXPECT_EQ(client.transact(command, offset, length), error) << command << " " << offset;
  for (const auto offset : std::vector<std::uint64_t>{kSize, kSize - 1, 1ULL << 63, ~0ULL})
    EXPECT_EQ(write(offset, filled(4096, 1)), kENoSpc);
  expect_in_sync();
  EXPECT_TRUE(all_zero(memory->bytes()));
}

// Row 18: an error leaves nothing locked behind it.
TEST_P(NbdTransmission, AfterABadReadTheNextClientIsServed) {
  EXPECT_EQ(client.transact(kRead, kSize, 4096), kEInval);
  client.hang_up();
  auto next = server.connect_to();
  EXPECT_EQ(next.transact(kRead, 0, 512), kOk);
  EXPECT_EQ(next.receive(512), filled(512, 0));
}

TEST_P(NbdTransmission, ALongRefusedPayloadIsConsumed) {
  const std::uint32_t length = 40 * MiB;  // more than any backend here takes
  client.request(kWrite, 0, length);
  std::thread sender([&] { client.send(filled(length, 1)); });
  EXPECT_EQ(client.simple(), kENoSpc);
  sender.join();
  expect_in_sync();
}

TEST_P(NbdTransmission, ReadsOfTooMuchAreRefused) {
  PatternBackend large(1ULL << 40);
  WireServer big({{"", "", &large, false}});
  auto reader = big.connect_to();
  EXPECT_EQ(reader.transact(kRead, 0, 32 * MiB + 1), kEInval);
  EXPECT_EQ(reader.transact(kRead, 0, 0xffffffff), kEInval);
  EXPECT_EQ(reader.transact(kRead, (1ULL << 40) - 8, 8), kOk);
  EXPECT_EQ(load_le<std::uint64_t>(reader.receive(8).data()), (1ULL << 40) - 8);
  EXPECT_EQ(reader.transact(kRead, 0, 32 * MiB), kOk);
  EXPECT_EQ(reader.receive(32 * MiB).size(), 32 * MiB);
}

TEST_P(NbdTransmission, ZeroLengthDoesNothingInSync) {
  for (const std::uint16_t command : {kRead, kWrite, kFlush, kTrim, kCache, kWriteZeroes})
    EXPECT_EQ(client.transact(command, 0, 0), kOk) << command;
  EXPECT_EQ(client.transact(kRead, kSize, 0), kOk);
  EXPECT_EQ(client.transact(kRead, kSize + 1, 0), kEInval);
  expect_in_sync();
}

// Row 7: every flag with every command; only what belongs there is taken.
TEST_P(NbdTransmission, EveryCommandWithEveryFlag) {
  const auto allowed = [](std::uint16_t command) -> unsigned {
    return command == kWriteZeroes ? kFua | kNoHole | kFastZero : kFua;
  };
  for (std::uint16_t command = 0; command < 12; ++command) {
    if (command == kDisconnect) continue;
    for (std::uint16_t flags = 0; flags < 64; ++flags) {
      client.request(command, 0, 512, flags);
      if (command == kWrite) client.send(filled(512, 1));
      const bool known = command <= kWriteZeroes;
      const bool good = known && (flags & ~allowed(command)) == 0;
      EXPECT_EQ(client.simple(), good ? kOk : kEInval) << command << " with " << flags;
      if (command == kRead && good) client.receive(512);
    }
  }
  for (const std::uint16_t command : {kRead, kWrite, kFlush, kTrim, kCache, kWriteZeroes}) {
    client.request(command, 0, 512, 1 << 15);
    if (command == kWrite) client.send(filled(512, 1));
    EXPECT_EQ(client.simple(), kEInval);
  }
  EXPECT_EQ(client.transact(0xffff, 0, 512), kEInval);
  expect_in_sync();
}

// The same where replies come in chunks, which knows two flags more.
TEST_P(NbdTransmission, EveryCommandWithEveryFlagInChunks) {
  auto structured = server.structured(true);
  const auto allowed = [](std::uint16_t command) -> unsigned {
    if (command == kRead) return kFua | kDf;
    if (command == kBlockStatus) return kFua | kReqOne;
    return command == kWriteZeroes ? kFua | kNoHole | kFastZero : kFua;
  };
  for (std::uint16_t command = 0; command < 12; ++command) {
    if (command == kDisconnect) continue;
    for (std::uint16_t flags = 0; flags < 64; ++flags) {
      structured.request(command, 0, 512, flags);
      if (command == kWrite) structured.send(filled(512, 1));
      const bool good = command <= kBlockStatus && (flags & ~allowed(command)) == 0;
      if (command != kRead && command != kBlockStatus) {
        EXPECT_EQ(structured.simple(), good ? kOk : kEInval) << command << " with " << flags;
        continue;
      }
      const auto chunk = structured.chunk();
      EXPECT_EQ(chunk.type == kChunkError, !good) << command << " with " << flags;
      if (!chunk.done()) {
        EXPECT_TRUE(structured.chunk().done());
      }
    }
  }
  EXPECT_EQ(structured.transact(kFlush, 0, 0), kOk);
}

// What has no payload may be longer than any payload.
TEST_P(NbdTransmission, OnlyPayloadsAreHeldToTheLongestBlock) {
  NbdServerOptions options;
  options.maximum_block = 64 * KiB;
  WireServer small({{"", "", memory.get(), false}}, options);
  auto asker = small.structured(true);
  for (const std::uint16_t command : {kTrim, kWriteZeroes, kCache})
    EXPECT_EQ(asker.transact(command, 0, kSize), kOk) << command;
  asker.request(kBlockStatus, 0, kSize);
  EXPECT_EQ(asker.chunk().type, kChunkBlockStatus);
  asker.request(kRead, 0, kSize);
  EXPECT_EQ(asker.chunk().error(), kEInval);
}

// Row 14, as far as it goes without TLS: half of the connection is closed in the middle of a request.
TEST_P(NbdTransmission, WhatWasAskedBeforeAHalfCloseIsAnsweredThenItEnds) {
  for (int i = 0; i < 8; ++i) client.request(kRead, 0, 65536);
  client.send(filled(5, 1));
  ::shutdown(client.fd(), SHUT_WR);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(client.simple(), kOk);
    EXPECT_EQ(client.receive(65536).size(), 65536U);
  }
  EXPECT_TRUE(client.closed());
  server.join();  // no thread is left that could spin
}

TEST_P(NbdTransmission, BlockStatusNeedsItsContext) {
  EXPECT_EQ(client.transact(kBlockStatus, 0, 512), kEInval);
  expect_in_sync();
}

TEST_P(NbdTransmission, AReadOnlyExportIsNotChanged) {
  auto reader = server.connect_to("ro");
  EXPECT_EQ(reader.transact(kTrim, 0, 512), kEPerm);
  EXPECT_EQ(reader.transact(kWriteZeroes, 0, 512), kEPerm);
  reader.request(kWrite, 0, 2 * MiB);
  reader.send(filled(2 * MiB, 1));
  EXPECT_EQ(reader.simple(), kEPerm);
  EXPECT_EQ(reader.transact(kFlush, 0, 0), kOk);
  EXPECT_TRUE(all_zero(memory->bytes()));
}

TEST_P(NbdTransmission, ZeroesTrimAndCache) {
  write(0, filled(64 * KiB, 0xee));
  EXPECT_EQ(client.transact(kWriteZeroes, 100, 20'000), kOk);
  EXPECT_EQ(client.transact(kWriteZeroes, 30'000, 5'000, kNoHole), kOk);
  EXPECT_EQ(client.transact(kWriteZeroes, 40'960, 4096, kFastZero | kFua), kOk);
  EXPECT_EQ(client.transact(kTrim, 53'248, 4096, kFua), kOk);
  EXPECT_EQ(client.transact(kCache, 0, 4096), kOk);
  const auto bytes = read(0, 50'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const bool zero = (i >= 100 && i < 20'100) || (i >= 30'000 && i < 35'000) ||
                      (i >= 40'960 && i < 45'056);
    ASSERT_EQ(bytes[i], zero ? std::byte{0} : std::byte{0xee}) << i;
  }
}

TEST_P(NbdTransmission, FlushIsLenientAboutItsUnusedFields) {
  EXPECT_EQ(client.transact(kFlush, 4096, 4096), kOk);
  EXPECT_EQ(client.transact(kFlush, ~0ULL, 0xffffffff, kFua), kOk);
}

// Row 17.
TEST_P(NbdTransmission, AHalfReceivedWriteChangesNothing) {
  for (const std::uint32_t length : {4096U, 1048576U, 4194304U}) {
    auto writer = server.connect_to();
    writer.request(kWrite, 0, length);
    writer.send(filled(length - 1, 1));
    writer.hang_up();
  }
  server.stop.request();
  EXPECT_EQ(server.join(), 0U);
  EXPECT_TRUE(all_zero(memory->bytes()));
}

// Row 15, from the inside: what is promised is not taken. The system test measures memory.
TEST_P(NbdTransmission, AStalledWriteHarmsNobody) {
  std::vector<WireClient> stalled;
  for (int i = 0; i < 20; ++i) {
    stalled.push_back(server.connect_to());
    stalled.back().request(kWrite, 0, 8 * MiB);
    stalled.back().send(filled(1, 1));
  }
  EXPECT_EQ(write(0, filled(4096, 2)), kOk);
  EXPECT_EQ(read(0, 4096), filled(4096, 2));
}

TEST_P(NbdTransmission, AWrongMagicClosesAfterWhatCameBefore) {
  client.request(kFlush, 0, 0, 0, 3);
  client.send(join(Request{0x12345678U, std::uint16_t{0}, std::uint16_t{0}, 0ULL, 0ULL, 0U}));
  EXPECT_EQ(client.simple(3), kOk);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server.join(), 1U);
}

// DISC: what is outstanding is answered, DISC itself is not.
TEST_P(NbdTransmission, DisconnectFinishesWhatIsOutstanding) {
  ByteString all;
  for (std::uint64_t i = 0; i < 32; ++i)
    append(all, join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kRead}, i, i * 65536, 65536U}));
  append(all, join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kDisconnect}, 99ULL, 0ULL, 0U}));
  client.send(all);
  EXPECT_EQ(client.receive(32 * (65536 + 16)).size(), 32U * (65536 + 16));
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server.join(), 0U);
}

TEST_P(NbdTransmission, StopAnswersWhatWasReceivedThenCloses) {
  for (std::uint64_t i = 0; i < 32; ++i) client.request(kWriteZeroes, i * 4096, 4096, 0, 7);
  server.stop.request();
  for (int i = 0; i < 32; ++i) EXPECT_EQ(client.simple(), kOk);
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(server.join(), 0U);
}

// Row 21: one byte at a time is slow, not wrong.
TEST_P(NbdTransmission, RequestsMayTrickle) {
  const auto bytes = join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kWrite}, 7ULL, 0ULL, 600U},
                          filled(600, 5));
  for (const auto byte : bytes) client.send({byte});
  EXPECT_EQ(client.simple(), kOk);
  EXPECT_EQ(read(0, 600), filled(600, 5));
}

// Row 16: a client that asks for much and reads nothing blocks only itself, and not the stop.
TEST_P(NbdTransmission, AClientThatReadsNothingBlocksOnlyItself) {
  auto deaf = server.connect_to();
  std::thread asker([&] {
    for (int i = 0; i < 2000; ++i) deaf.request(kRead, 0, MiB);
  });
  EXPECT_EQ(write(4096, filled(4096, 9)), kOk);
  EXPECT_EQ(read(4096, 4096), filled(4096, 9));
  server.stop.request();
  server.join();
  asker.join();
}

// Row 6, in small: gone with much in flight.
TEST_P(NbdTransmission, AClientThatVanishesWithRequestsInFlightHarmsNobody) {
  for (int round = 0; round < 20; ++round) {
    auto rude = server.connect_to();
    ByteString requests;
    for (std::uint64_t i = 0; i < 64; ++i)
      append(requests, join(Request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kRead}, i, i * 4096, 4096U}));
    rude.send(requests);
    rude.reset_connection();
  }
  expect_in_sync();
}

TEST_P(NbdTransmission, NoiseHarmsNobody) {
  std::mt19937 random(2);
  for (int round = 0; round < 30; ++round) {
    auto noisy = server.connect_to();
    for (int i = 0; i < 20; ++i) {
      noisy.request(static_cast<std::uint16_t>(random() % 10), random() % (2 * kSize),
                    static_cast<std::uint32_t>(random() % 3 ? random() % 65536 : random()),
                    static_cast<std::uint16_t>(random() % 2 ? 0 : random() & 0x3f));
    }
    noisy.hang_up();
  }
  expect_in_sync();
}

TEST_P(NbdTransmission, CountsWhatWasDone) {
  write(0, filled(4096, 1));
  read(0, 1000);
  client.request(kDisconnect, 0, 0);
  EXPECT_TRUE(client.closed());
  const auto totals = server.server.totals();
  EXPECT_EQ(totals.requests, 2U);
  EXPECT_EQ(totals.bytes_read, 1000U);
  EXPECT_EQ(totals.bytes_written, 4096U);
}

TEST(NbdAttached, StartsInTheTransmissionPhaseWithSimpleReplies) {
  MemoryBackend memory(MiB);
  WireServer server(std::vector<NbdExport>{});
  const NbdExport exported{"", "", &memory, false};
  EXPECT_TRUE(server.server.attached_flags(exported) & kSendFlush);
  auto kernel = server.connect_attached(exported);
  EXPECT_EQ(kernel.transact(kRead, 0, 512), kOk);
  EXPECT_EQ(kernel.receive(512), filled(512, 0));
}

}  // namespace
}  // namespace r3
