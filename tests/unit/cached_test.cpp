// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached.hpp"

#include <atomic>
#include <cstring>
#include <latch>
#include <random>
#include <thread>

#include "tests/unit/backend_suite.hpp"
#include "tests/unit/cached_double.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {
namespace {

BackendUnderTest make_cached(std::uint64_t size, CachedOptions options, bool pull) {
  struct Kept {
    std::unique_ptr<Backend> remote;
    std::unique_ptr<CacheStore> store;
    std::unique_ptr<PullSource> source;
  };
  CachedParts parts(std::make_unique<MemoryBackend>(size), options, pull);
  return {std::move(parts.cached),
          std::make_shared<Kept>(std::move(parts.remote), std::move(parts.store), std::move(parts.source))};
}

CachedOptions with(std::uint64_t chunk, std::uint64_t capacity = ~0ULL,
                   std::uint64_t soon = 64 * MiB) {
  CachedOptions options;
  options.chunk = chunk;
  options.capacity = capacity;
  options.push.soon = soon;
  options.push.interval = std::chrono::milliseconds(0);
  return options;
}

INSTANTIATE_TEST_SUITE_P(
    Cached, BackendSuite,
    testing::Values(
        BackendCase{"pulled", [](std::uint64_t size) { return make_cached(size, with(4096), true); }},
        BackendCase{"on_demand", [](std::uint64_t size) { return make_cached(size, with(512), false); }},
        BackendCase{"small", [](std::uint64_t size) {
                      return make_cached(size, with(512, 256 * 512, 64 * KiB), true);
                    }, nullptr, 1, kSteps / 5},
        BackendCase{"large_chunks", [](std::uint64_t size) {
                      return make_cached(size, with(64 * KiB), true);
                    }}),
    case_name);

std::unique_ptr<MemoryBackend> numbered(std::uint64_t size) {
  auto memory = std::make_unique<MemoryBackend>(size);
  for (std::uint64_t at = 0; at + 8 <= size; at += 8) store_le(memory->bytes().data() + at, at);
  return memory;
}

TEST(Cached, PullsEverythingInTheBackground) {
  auto counting = std::make_unique<CountingBackend>(numbered(8 * MiB));
  CountingBackend& remote = *counting;
  CachedParts parts(std::move(counting), with(4096), true);
  Stop stop;
  EXPECT_TRUE(parts.cached->wait_until_pulled(stop));
  EXPECT_EQ(remote.bytes(Call::read), 8 * MiB);
  const auto calls = remote.calls(Call::read);
  EXPECT_LE(calls, 8 * MiB / (64 * KiB));  // long extents
  std::vector<std::byte> all(8 * MiB);
  parts.cached->read_at(all, 0);
  EXPECT_EQ(load_le<std::uint64_t>(&all[5 * MiB]), 5 * MiB);
  EXPECT_EQ(remote.calls(Call::read), calls);
  EXPECT_EQ(parts.cached->numbers().present, 8 * MiB);
  EXPECT_TRUE(parts.cached->numbers().complete);
}

TEST(Cached, FetchesOnlyWhatIsReadWithoutPulling) {
  auto counting = std::make_unique<CountingBackend>(numbered(8 * MiB), 4096);
  CountingBackend& remote = *counting;
  CachedParts parts(std::move(counting), with(4096), false);
  EXPECT_EQ(load_le<std::uint64_t>(read_bytes(*parts.cached, 1 * MiB, 8).data()), 1 * MiB);
  EXPECT_EQ(remote.bytes(Call::read), 4096u);
  read_bytes(*parts.cached, 1 * MiB - 4096, 3 * 4096);  // around it, in one request
  EXPECT_EQ(remote.calls(Call::read), 2u);
  EXPECT_EQ(parts.cached->numbers().missed, 2u);
}

TEST(Cached, DoesNotFetchWhatIsWrittenWhole) {
  auto counting = std::make_unique<CountingBackend>(std::make_unique<MemoryBackend>(1 * MiB));
  CountingBackend& remote = *counting;
  CachedParts parts(std::move(counting), with(4096), false);
  parts.cached->write_at(filled(8192, 1), 4096);
  EXPECT_EQ(remote.calls(Call::read), 0u);
  parts.cached->write_at(filled(100, 2), 64 * KiB);  // a part: the rest of the chunk is needed
  EXPECT_EQ(remote.calls(Call::read), 1u);
  EXPECT_EQ(remote.calls(Call::write), 0u);
}

TEST(Cached, AFlushMeansThatTheRemoteHasItAndHasFlushed) {
  auto counting = std::make_unique<CountingBackend>(std::make_unique<MemoryBackend>(1 * MiB));
  CountingBackend& remote = *counting;
  CachedParts parts(std::move(counting), with(4096), false);
  parts.cached->write_at(filled(64 * KiB, 3), 0);
  parts.cached->write_at(filled(4096, 4), 512 * KiB);
  EXPECT_EQ(parts.cached->numbers().dirty, 68 * KiB);
  parts.cached->flush();
  EXPECT_EQ(remote.calls(Call::write), 2u);  // coalesced
  EXPECT_EQ(remote.bytes(Call::write), 68 * KiB);
  EXPECT_EQ(remote.calls(Call::flush), 2u);  // one at the start
  EXPECT_EQ(parts.cached->numbers().dirty, 0u);
  EXPECT_EQ(read_bytes(remote, 512 * KiB, 4096), filled(4096, 4));
  parts.cached->flush();  // nothing to do
  EXPECT_EQ(remote.calls(Call::flush), 2u);
}

// A writer before this one may have left it unflushed: what is called clean then could be gone tomorrow.
TEST(Cached, TheRemoteIsFlushedBeforeAnythingIsFetched) {
  VolatileBackend remote(1 * MiB);
  remote.write_at(filled(4096, 8), 0);
  MemoryStore store(1 * MiB, 4096);
  CachedChunks chunks(remote, store, 4096, ~0ULL);
  std::vector<std::byte> bytes(4096);
  chunks.read(bytes, 0);
  remote.lose();
  EXPECT_EQ(read_bytes(remote, 0, 4096), bytes);
}

TEST(Cached, WhatCouldNotBePushedStaysDirtyAndIsPushedLater) {
  for (const Call call : {Call::write, Call::flush}) {
    auto faulty = std::make_unique<FaultyBackend>(std::make_unique<MemoryBackend>(1 * MiB));
    FaultyBackend& remote = *faulty;
    CachedParts parts(std::move(faulty), with(4096), false);
    parts.cached->write_at(filled(8192, 5), 0);
    remote.fail_from(call, 1, EIO);
    EXPECT_EQ(error_of([&] { parts.cached->flush(); }), EIO);
    EXPECT_EQ(parts.cached->numbers().dirty, 8192u);
    EXPECT_NE(parts.cached->numbers().last_error, "");
    parts.cached->flush();
    EXPECT_EQ(parts.cached->numbers().dirty, 0u);
    EXPECT_EQ(parts.cached->numbers().last_error, "");
    EXPECT_EQ(read_bytes(remote, 0, 8192), filled(8192, 5));
  }
}

TEST(Cached, AReadThatFailsLeavesNothingBehind) {
  auto faulty = std::make_unique<FaultyBackend>(numbered(1 * MiB));
  FaultyBackend& remote = *faulty;
  CachedParts parts(std::move(faulty), with(4096), false);
  remote.fail_from(Call::read, 1, ETIMEDOUT);
  std::vector<std::byte> bytes(8);
  EXPECT_EQ(error_of([&] { parts.cached->read_at(bytes, 8192); }), ETIMEDOUT);
  parts.cached->read_at(bytes, 8192);
  EXPECT_EQ(load_le<std::uint64_t>(bytes.data()), 8192u);
  EXPECT_EQ(parts.cached->numbers().in_flight, 0u);
}

TEST(Cached, ThePullerTriesAgainAfterAFailure) {
  auto faulty = std::make_unique<FaultyBackend>(numbered(1 * MiB));
  faulty->fail_from(Call::read, 2, EIO, 3);
  CachedParts parts(std::move(faulty), with(4096), true);
  Stop stop;
  EXPECT_TRUE(parts.cached->wait_until_pulled(stop));
  EXPECT_EQ(parts.cached->numbers().present, 1 * MiB);
  EXPECT_EQ(load_le<std::uint64_t>(read_bytes(*parts.cached, MiB - 8, 8).data()), MiB - 8);
}

// Also when two flights overlap, as after a read that would not wait, and nothing is left between them.
TEST(Flights, WhatIsInFlightIsNotClaimedAgain) {
  Flights flights;
  Flights::Ticket long_one, ticket;
  const auto late = Flights::Clock::now() + std::chrono::hours(1);
  ASSERT_TRUE(flights.claim_background({0, 100}, late, long_one));
  const auto urgent = flights.claim_or_wait({50, 100}, Flights::Clock::now());
  ASSERT_TRUE(urgent.claimed);
  EXPECT_FALSE(flights.claim_background({60, 20}, late, ticket));
  ASSERT_TRUE(flights.claim_background({90, 80}, late, ticket));
  EXPECT_EQ(ticket->run, (ChunkRun{150, 20}));
  flights.end(ticket);
  flights.end(urgent.ticket);
  flights.end(long_one);
  EXPECT_EQ(flights.count(), 0u);
}

// Two readers of one absent chunk: the second waits for what the first asked for.
TEST(Cached, ASecondReaderJoinsWhatIsInFlight) {
  auto counting = std::make_unique<CountingBackend>(numbered(1 * MiB));
  CountingBackend& counted = *counting;
  auto gated = std::make_unique<GatedBackend>(std::move(counting));
  GatedBackend& gate = *gated;
  CachedParts parts(std::move(gated), with(4096), false);
  gate.shut(Call::read);
  std::vector<std::jthread> readers;
  for (int i = 0; i < 4; ++i)
    readers.emplace_back([&] {
      EXPECT_EQ(load_le<std::uint64_t>(read_bytes(*parts.cached, 4096, 8).data()), 4096u);
    });
  gate.wait_for_waiting(1);
  EXPECT_EQ(parts.cached->numbers().in_flight, 4096u);
  gate.open();
  readers.clear();
  EXPECT_EQ(counted.calls(Call::read), 1u);
}

// What is written while the chunk is fetched is not overwritten by what comes.
TEST(Cached, AWriteWinsOverWhatIsInFlight) {
  auto gated = std::make_unique<GatedBackend>(numbered(1 * MiB));
  GatedBackend& gate = *gated;
  CachedParts parts(std::move(gated), with(4096), false);
  gate.shut(Call::read);
  std::jthread reader([&] { read_bytes(*parts.cached, 4096, 8192); });
  gate.wait_for_waiting(1);
  parts.cached->write_at(filled(4096, 9), 4096);
  gate.open();
  reader.join();
  EXPECT_EQ(read_bytes(*parts.cached, 4096, 4096), filled(4096, 9));
  EXPECT_EQ(load_le<std::uint64_t>(read_bytes(*parts.cached, 8192, 8).data()), 8192u);
}

// While the remote is away, what is here can be read and written.
TEST(Cached, GoesOnWithoutTheRemote) {
  auto gated = std::make_unique<GatedBackend>(numbered(1 * MiB));
  GatedBackend& gate = *gated;
  CachedParts parts(std::move(gated), with(4096), true);
  Stop stop;
  ASSERT_TRUE(parts.cached->wait_until_pulled(stop));
  gate.shut(Call::write);
  parts.cached->write_at(filled(4096, 7), 0);
  std::jthread flusher([&] { parts.cached->flush(); });
  gate.wait_for_waiting(1);
  for (int i = 0; i < 100; ++i) parts.cached->write_at(filled(4096, i), 4096);
  EXPECT_EQ(read_bytes(*parts.cached, 0, 4096), filled(4096, 7));
  EXPECT_EQ(read_bytes(*parts.cached, 4096, 4096), filled(4096, 99));
  gate.open();
  flusher.join();
  parts.cached->flush();
  EXPECT_EQ(parts.cached->numbers().dirty, 0u);
}

// The epoch that is pushed is the region as it was when it was sealed, though it is changed meanwhile.
TEST(Cached, AnEpochIsWhatItWasWhenItWasSealed) {
  auto memory = std::make_shared<MemoryBackend>(1 * MiB);
  auto gated = std::make_unique<GatedBackend>(std::make_unique<BorrowedBackend>(memory));
  GatedBackend& gate = *gated;
  CachedOptions options = with(4096);
  options.push.workers = 1;
  CachedParts parts(std::move(gated), options, false);
  gate.shut(Call::write);
  parts.cached->write_at(filled(4096, 1), 0);        // is taken first, and waits at the gate
  parts.cached->write_at(filled(4096, 2), 64 * KiB); // not taken yet
  std::jthread flusher([&] { parts.cached->flush(); });
  gate.wait_for_waiting(1);
  parts.cached->write_at(filled(4096, 3), 64 * KiB);  // of the next epoch
  parts.cached->write_at(filled(4096, 4), 0);
  gate.open();
  flusher.join();
  EXPECT_EQ(read_bytes(*memory, 0, 4096), filled(4096, 1));
  EXPECT_EQ(read_bytes(*memory, 64 * KiB, 4096), filled(4096, 2));
  EXPECT_EQ(parts.cached->numbers().dirty, 8192u);
  parts.cached->flush();
  EXPECT_EQ(read_bytes(*memory, 0, 4096), filled(4096, 4));
  EXPECT_EQ(read_bytes(*memory, 64 * KiB, 4096), filled(4096, 3));
}

// Memory whose second background read waits; counts what is read.
class Held : public MemoryBackend {
 public:
  using MemoryBackend::MemoryBackend;
  void read_at(Bytes into, std::uint64_t offset) override {
    bytes += into.size();
    MemoryBackend::read_at(into, offset);
  }
  void read_background(Bytes into, std::uint64_t offset) override {
    if (++background == 2) {
      held.count_down();
      go_on.wait();
    }
    read_at(into, offset);
  }
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<unsigned> background{0};
  std::latch held{1}, go_on{1};
};

TEST(Cached, WhatCameOnDemandIsNotPulledAgain) {
  auto remote = std::make_unique<Held>(8 * MiB);
  Held& held = *remote;
  CachedOptions options;
  options.pull.workers = 1;
  const CachedParts parts(std::move(remote), options, true);
  held.held.wait();
  std::vector<std::byte> into(6 * MiB);
  parts.cached->read_at(into, 2 * MiB);  // past the one that is held, which has 1 MiB at most
  held.go_on.count_down();
  Stop never;
  EXPECT_TRUE(parts.cached->wait_until_pulled(never));
  EXPECT_EQ(held.bytes, 8 * MiB);
}

TEST(Cached, ThePullerRestsWhenAllIsHere) {
  class CountingSource : public SequentialSource {
   public:
    using SequentialSource::SequentialSource;
    std::optional<PullRange> next(std::uint64_t most) override {
      ++asked;
      return SequentialSource::next(most);
    }
    std::atomic<unsigned> asked{0};
  };
  const auto remote = numbered(8 * MiB);
  MemoryStore store(8 * MiB, 4096);
  CountingSource source(8 * MiB);
  Cached cached(*remote, store, source, with(4096));
  Stop stop;
  ASSERT_TRUE(cached.wait_until_pulled(stop));
  const unsigned before = source.asked;
  for (int i = 0; i < 20; ++i) read_bytes(cached, 0, 8 * MiB);
  EXPECT_LE(source.asked, before + 2 * PullerOptions().workers);
}

TEST(Cached, TellsWhatHasCome) {
  std::uint64_t come = 0;
  CachedOptions options = with(4096);
  options.on_local = [&](std::uint64_t offset, std::uint64_t length) {
    EXPECT_EQ(offset, 8192u);
    come += length;
  };
  CachedParts parts(numbered(1 * MiB), options, false);
  read_bytes(*parts.cached, 8192, 4096);
  read_bytes(*parts.cached, 8192, 4096);
  parts.cached->write_at(filled(4096, 1), 0);
  EXPECT_EQ(come, 4096u);
}

TEST(Cached, KeepsToItsCapacity) {
  CachedParts parts(numbered(8 * MiB), with(4096, 2 * MiB), true);
  Stop stop;
  EXPECT_TRUE(parts.cached->wait_until_pulled(stop));
  std::mt19937_64 random(3);
  for (int i = 0; i < 2000; ++i) {
    const auto at = random() % (8 * MiB / 4096) * 4096;
    ASSERT_EQ(load_le<std::uint64_t>(read_bytes(*parts.cached, at, 8).data()), at);
    ASSERT_LE(parts.cached->numbers().present, 2 * MiB + 64 * KiB);
  }
  EXPECT_GT(parts.cached->numbers().evicted, 0u);
}

TEST(Cached, AbandonEndsEverybodyWhoWaits) {
  auto gated = std::make_unique<GatedBackend>(numbered(4 * MiB));
  GatedBackend& gate = *gated;
  CachedParts parts(std::move(gated), with(4096, 1 * MiB), false);
  gate.shut(Call::write);
  std::jthread writer([&] {  // more than fits
    EXPECT_EQ(error_of([&] { parts.cached->write_at(filled(2 * MiB, 1), 0); }), ESHUTDOWN);
  });
  gate.wait_for_waiting(1);
  std::jthread flusher([&] { EXPECT_EQ(error_of([&] { parts.cached->flush(); }), ESHUTDOWN); });
  parts.cached->abandon();
}

}  // namespace
}  // namespace r3::test
