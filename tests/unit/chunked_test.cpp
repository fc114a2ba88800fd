// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/chunked.hpp"

#include <stdexcept>
#include <thread>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/pattern.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"

namespace r3::test {
namespace {

// What is below fails every read, write, zero and discard that is not in whole chunks.
auto make_with(std::uint64_t chunk) {
  return [=](std::uint64_t size) -> BackendUnderTest {
    auto strict = std::make_unique<CountingBackend>(std::make_unique<MemoryBackend>(size), chunk);
    return {std::make_unique<Chunked>(std::move(strict), chunk)};
  };
}

BackendUnderTest make_over_memory(std::uint64_t size) {
  return {std::make_unique<Chunked>(std::make_unique<MemoryBackend>(size), 16 * KiB)};
}

INSTANTIATE_TEST_SUITE_P(Chunked, BackendSuite,
                         testing::Values(BackendCase{"strict_512", make_with(512)},
                                         BackendCase{"strict_64K", make_with(64 * KiB)},
                                         BackendCase{"memory_16K", make_over_memory}),
                         case_name);

struct Stack {
  explicit Stack(std::uint64_t size, std::uint64_t chunk) {
    auto counting = std::make_unique<CountingBackend>(std::make_unique<MemoryBackend>(size), chunk);
    below = counting.get();
    top = std::make_unique<Chunked>(std::move(counting), chunk);
  }
  CountingBackend* below;
  std::unique_ptr<Chunked> top;
};

TEST(Chunked, WholeChunksAreWrittenAtOnceWithoutReading) {
  Stack stack(10'000, 1024);
  stack.top->write_at(std::vector<std::byte>(4096), 1024);
  EXPECT_EQ(stack.below->calls(Call::read), 0u);
  EXPECT_EQ(stack.below->calls(Call::write), 1u);
  stack.top->write_at(std::vector<std::byte>(10'000 - 9216), 9216);  // the short last one is whole
  EXPECT_EQ(stack.below->calls(Call::read), 0u);
  EXPECT_EQ(stack.below->calls(Call::write), 2u);
}

TEST(Chunked, PartsAreReadChangedAndWritten) {
  Stack stack(10'000, 1024);
  stack.top->write_at(std::vector<std::byte>(3000), 500);  // 500-1024, two whole ones, 3072-3500
  EXPECT_EQ(stack.below->bytes(Call::read), 2048u);
  EXPECT_EQ(stack.below->bytes(Call::write), 4096u);
}

TEST(Chunked, ZeroesAndDiscardsWholeChunksBelow) {
  Stack stack(10'000, 1024);
  stack.top->zero_at(1000, 3000);
  EXPECT_EQ(stack.below->bytes(Call::zero), 2048u);
  stack.top->discard_at(1000, 3000);
  EXPECT_EQ(stack.below->bytes(Call::discard), 2048u);
  EXPECT_EQ(error_of([&] { stack.top->zero_at(100, 200, {false, true}); }), EOPNOTSUPP);
}

TEST(Chunked, RefusesChunksThatAreNone) {
  for (const std::uint64_t chunk : {std::uint64_t{0}, std::uint64_t{3000}, 128 * MiB})
    EXPECT_THROW(Chunked(std::make_unique<MemoryBackend>(1), chunk), std::invalid_argument);
  EXPECT_THROW(Chunked(std::make_unique<PatternBackend>(~0ULL), 4096), std::invalid_argument);
}

TEST(Chunked, IsReadOnlyWhenBelowIs) {
  Chunked chunked(std::make_unique<PatternBackend>(10'000), 4096);
  EXPECT_TRUE(chunked.read_only());
  EXPECT_EQ(error_of([&] { chunked.write_at(as_bytes("x"), 5); }), EPERM);
  EXPECT_EQ(error_of([&] { chunked.zero_at(0, 4096); }), EPERM);
  EXPECT_EQ(error_of([&] { chunked.discard_at(0, 4096); }), EPERM);
}

TEST(Chunked, FailureOfTheReadLeavesTheChunkAlone) {
  auto faulty = std::make_unique<FaultyBackend>(std::make_unique<MemoryBackend>(8192));
  FaultyBackend* below = faulty.get();
  Chunked chunked(std::move(faulty), 4096);
  chunked.write_at(std::vector<std::byte>(8192, std::byte{5}), 0);
  below->fail_from(Call::read, 1, EIO);
  EXPECT_EQ(error_of([&] { chunked.write_at(as_bytes("x"), 5); }), EIO);
  EXPECT_EQ(read_bytes(chunked, 0, 8192), std::vector<std::byte>(8192, std::byte{5}));
}

// While one chunk is being written in part, others are not held up, and abandon() reaches who waits.
TEST(Chunked, ChunksDoNotWaitForEachOther) {
  auto gated = std::make_unique<GatedBackend>(std::make_unique<MemoryBackend>(64 * KiB));
  GatedBackend* gate = gated.get();
  Chunked chunked(std::move(gated), 4096);
  gate->shut(Call::read);
  int error = 0;
  std::thread waiting([&] {
    error = error_of([&] { chunked.write_at(as_bytes("x"), 5); });
  });
  gate->wait_for_waiting(1);
  chunked.write_at(std::vector<std::byte>(8192, std::byte{5}), 8192);  // needs no reading
  chunked.abandon();
  waiting.join();
  EXPECT_EQ(error, ESHUTDOWN);
}

}  // namespace
}  // namespace r3::test
