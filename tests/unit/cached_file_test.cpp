// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_file.hpp"

#include <fcntl.h>

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "libcommon/storage/cached.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/cached_disk_double.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kChunk = 512;
constexpr std::uint64_t kChunks = 700;  // in three groups
constexpr std::uint64_t kSize = kChunks * kChunk - 100;
const std::array<std::byte, 16> kBoot{std::byte{1}}, kNextBoot{std::byte{2}};

CacheOwner owner() { return {"memory:test", kSize, 0, kChunk}; }

BackendUnderTest make_on_file(std::uint64_t size, std::uint64_t capacity) {
  struct Kept {
    TemporaryDirectory directory;
    MemoryBackend remote;
    FileDisk disk;
    FileStore store;
    SequentialSource source;
    explicit Kept(std::uint64_t bytes)
        : remote(bytes),
          disk(directory.path() + "/cache"),
          store(disk, "cache", {"x", bytes, 0, kChunk}, kBoot),
          source(bytes) {}
  };
  auto kept = std::make_shared<Kept>(size);
  CachedOptions options;
  options.chunk = kChunk;
  options.capacity = capacity;
  return {std::make_unique<Cached>(kept->remote, kept->store, kept->source, options), kept};
}

INSTANTIATE_TEST_SUITE_P(
    CachedFile, BackendSuite,
    testing::Values(BackendCase{"whole", [](std::uint64_t size) { return make_on_file(size, ~0ULL); },
                                nullptr, 1, kSteps / 5},
                    BackendCase{"small", [](std::uint64_t size) { return make_on_file(size, 256 * kChunk); },
                                nullptr, 1, kSteps / 10}),
    case_name);

// A managed mount without threads, driven step by step, with what each chunk may hold if it ends now.
class Driven {
 public:
  Driven(unsigned seed, unsigned most_subsets)
      : random_(seed), remote_(kSize), most_subsets_(most_subsets) {
    for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) allowed_[chunk] = {0};
    disk_.before = [this] { crash_here(); };
    store_ = std::make_unique<FileStore>(disk_, "cache", owner(), kBoot);
    chunks_ = std::make_unique<CachedChunks>(remote_, *store_, kChunk, 512 * kChunk);
  }

  void step() {
    const auto chunk = random_() % 40 * 16 % kChunks + random_() % 3;
    switch (random_() % 12) {
      case 0: case 1: case 2: case 3: case 4: return write(chunk % kChunks);
      case 5: case 6: case 7: return read(chunk % kChunks);
      case 8: return push();
      case 9: return sync();
      case 10: return read_many();
      default: return write_part(chunk % kChunks);
    }
  }
  unsigned crashes() const { return crashes_; }
  unsigned dirty_seen() const { return dirty_seen_; }
  unsigned subsets() const { return subsets_; }

 private:
  std::uint64_t length(std::uint64_t chunk) const { return std::min(kChunk, kSize - chunk * kChunk); }

  void write(std::uint64_t chunk) {
    const auto value = static_cast<unsigned>(1 + random_() % 250);
    allowed_[chunk].insert(value);
    chunks_->change({filled(length(chunk), value), chunk * kChunk, length(chunk)});
    current_[chunk] = value;
  }
  // Half of a chunk, with the value that the other half has: what is absent has to be fetched first.
  void write_part(std::uint64_t chunk) {
    chunks_->change({filled(length(chunk) / 2, current_[chunk]), chunk * kChunk, length(chunk) / 2});
  }
  void read(std::uint64_t chunk) {
    std::vector<std::byte> bytes(length(chunk));
    chunks_->read(bytes, chunk * kChunk);
    ASSERT_EQ(bytes, filled(bytes.size(), current_[chunk]));
  }
  // So many that others are given up.
  void read_many() {
    std::vector<std::byte> bytes(200 * kChunk);
    chunks_->read(bytes, random_() % 400 * kChunk);
  }
  void push() {
    chunks_->seal();
    std::vector<std::byte> bytes(8 * kChunk);
    for (ChunkRun run; (run = chunks_->take_unsent(run.end(), bytes)).count > 0;)
      remote_.write_at(Bytes(bytes).first(chunks_->map().length_of(run)), run.first * kChunk);
    ASSERT_TRUE(chunks_->close_epoch());
    store_->sync_data();
    remote_.flush();
    settle();  // from here on nothing older may come back
    chunks_->end_epoch(true);
  }
  void sync() {
    store_->sync();
    settle();
  }
  void settle() {
    for (auto& [chunk, values] : allowed_) values = {current_[chunk]};
  }

  void crash_here() {
    if (!chunks_) return;  // while the store begins
    ++crashes_;
    for (const bool server_too : {false, true}) {
      check(disk_.after_kill(), kBoot, server_too);
      for (int i = 0; i < 2; ++i) check(disk_.after_power_loss(random_), kNextBoot, server_too);
    }
    // Every subset where there are few.
    const auto changes = disk_.unsynced_changes();
    if (changes > most_subsets_) return;
    for (std::uint64_t subset = 0; subset < 1ULL << changes; ++subset) {
      ++subsets_;
      check(disk_.after_power_loss(subset, random_), kNextBoot, subset % 2 == 0);
    }
  }

  // What the next start finds: every chunk is one that may be, whether it is here or fetched; what is clean
  // is what the remote has, and still has when its server is started anew after that.
  void check(SimulatedDisk left, const std::array<std::byte, 16>& boot, bool server_too) {
    VolatileBackend remote = remote_;
    if (server_too) remote.lose();
    const FileStore::Found expected =
        boot == kBoot ? FileStore::Found::killed : FileStore::Found::power_loss;
    FileStore store(left, "cache", owner(), boot);
    ASSERT_EQ(store.found(), expected);
    CachedChunks chunks(remote, store, kChunk, ~0ULL);
    std::vector<std::byte> bytes(kChunk);
    for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
      const Bytes part = Bytes(bytes).first(length(chunk));
      chunks.read(part, chunk * kChunk);
      const auto value = std::to_integer<unsigned>(part[0]);
      ASSERT_TRUE(allowed_[chunk].contains(value)) << "chunk " << chunk << " has " << value;
    }
    remote.lose();
    for (std::uint64_t chunk = 0; chunk < kChunks; ++chunk) {
      const Bytes part = Bytes(bytes).first(length(chunk));
      chunks.read(part, chunk * kChunk);
      if (chunks.map().dirty.test(chunk)) ++dirty_seen_;
      else ASSERT_EQ(std::vector(part.begin(), part.end()), read_bytes(remote, chunk * kChunk, part.size()))
          << "clean chunk " << chunk;
    }
  }

  std::mt19937_64 random_;
  VolatileBackend remote_;
  SimulatedDisk disk_;
  std::unique_ptr<FileStore> store_;
  std::unique_ptr<CachedChunks> chunks_;
  std::map<std::uint64_t, std::set<unsigned>> allowed_;
  std::map<std::uint64_t, unsigned> current_;
  const unsigned most_subsets_;  // of so many changes that are not synced, and fewer
  unsigned crashes_ = 0, dirty_seen_ = 0, subsets_ = 0;
};

// Before every operation on the disk: killed, and the power lost with any sectors of what was not synced, and
// with every subset of the changes where these are few.
TEST(CachedFile, EveryCrashLeavesWhatMayBe) {
  const char* more = std::getenv("R3_SUBSETS");  // 10: 1024 subsets at a point, some minutes
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Driven driven(seed, more ? static_cast<unsigned>(std::atoi(more)) : 3);
    for (int i = 0; i < 60 && !testing::Test::HasFatalFailure(); ++i) driven.step();
    EXPECT_GT(driven.crashes(), 60u);
    EXPECT_GT(driven.dirty_seen(), 1000u);
    EXPECT_GT(driven.subsets(), 100u);
    testing::Test::RecordProperty("subsets", static_cast<int>(driven.subsets()));
  }
}

// A store with some chunks, closed or not; `change` then does something to its disk.
SimulatedDisk used(bool close) {
  SimulatedDisk disk;
  FileStore store(disk, "cache", owner(), kBoot);
  MemoryBackend remote(kSize);
  CachedChunks chunks(remote, store, kChunk, ~0ULL);
  std::vector<std::byte> bytes(100 * kChunk);
  chunks.read(bytes, 0);
  chunks.change({filled(kChunk, 7), 5 * kChunk, kChunk});
  if (close) store.close();
  else store.sync();
  return close ? std::move(disk) : disk.after_kill();
}

std::string refusal(SimulatedDisk disk, const CacheOwner& who) {
  const auto before = disk.bytes();
  try {
    FileStore store(disk, "cache", who, kBoot);
    return "taken";
  } catch (const std::system_error& error) {
    EXPECT_EQ(disk.bytes(), before);
    return error.what();
  }
}

TEST(CachedFile, WhatWasClosedIsTakenUpAsItWas) {
  SimulatedDisk disk = used(true);
  FileStore store(disk, "cache", owner(), kNextBoot);
  EXPECT_EQ(store.found(), FileStore::Found::closed);
  const ChunkMap map(kSize, kChunk, store);
  EXPECT_EQ(map.present_count(), 100u);
  EXPECT_EQ(map.dirty_count(), 1u);
  EXPECT_TRUE(map.dirty.test(5));
  store.forget_clean(0, 50);
  EXPECT_EQ(ChunkMap(kSize, kChunk, store).present_count(), 51u);
}

TEST(CachedFile, WhatBelongsToSomethingElseIsRefused) {
  EXPECT_NE(refusal(used(true), {"file:other", kSize, 0, kChunk}).find("another region, memory:test"),
            std::string::npos);
  EXPECT_NE(refusal(used(true), {"memory:test", kSize + 1, 0, kChunk}).find("bytes"), std::string::npos);
  EXPECT_NE(refusal(used(true), {"memory:test", kSize, 9, kChunk}).find("lost"), std::string::npos);
  EXPECT_NE(refusal(used(true), {"memory:test", kSize, 0, 1024}).find("--chunk-size 512"),
            std::string::npos);
}

TEST(CachedFile, WhatIsCutOffOrNoCacheIsRefused) {
  for (const std::uint64_t size : {1u, 4096u, 8192u, 100'000u}) {
    SimulatedDisk disk = used(true);
    disk.bytes().resize(size);
    EXPECT_NE(refusal(std::move(disk), owner()), "taken") << size;
  }
  SimulatedDisk zeroes;
  zeroes.grow(1 * MiB, 0);
  EXPECT_NE(refusal(std::move(zeroes), owner()).find("no cache"), std::string::npos);
}

// Any bit of what a closed cache's start depends on: refused, or not needed, but never another map.
TEST(CachedFile, ABitThatFlippedIsFound) {
  const SimulatedDisk good = used(true);
  std::mt19937_64 random(5);
  unsigned refused = 0;
  const CacheLayout layout(kSize, kChunk);
  for (int i = 0; i < 300; ++i) {
    SimulatedDisk disk = good;
    const auto pages = 2 * layout.pages * kCachePage;
    const auto at = i % 2 == 0 ? random() % (2 * sizeof(CacheLabel)) / sizeof(CacheLabel) * kCachePage +
                                     random() % sizeof(CacheLabel)
                               : layout.first_page + random() % pages;
    disk.bytes()[at] ^= static_cast<std::byte>(1u << random() % 8);
    try {
      FileStore store(disk, "cache", owner(), kBoot);
      const ChunkMap map(kSize, kChunk, store);
      // An older label is of an open cache, whose pages are then believed one by one.
      EXPECT_TRUE(map.present_count() == 100 || store.found() != FileStore::Found::closed) << at;
    } catch (const std::system_error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 30u);
}

TEST(CachedFile, AWriteThatTheDiskRefusesIsToldAtOnce) {
  SimulatedDisk disk;
  FileStore store(disk, "cache", owner(), kBoot);
  MemoryBackend remote(kSize);
  CachedChunks chunks(remote, store, kChunk, ~0ULL);
  disk.write_error = EIO;
  EXPECT_EQ(error_of([&] { chunks.change({filled(kChunk, 1), 0, kChunk}); }), EIO);
  EXPECT_EQ(chunks.map().dirty_count(), 0u);
  disk.write_error = ENOSPC;
  EXPECT_EQ(error_of([&] { chunks.change({filled(kChunk, 1), 0, kChunk}); }), ENOSPC);
  std::vector<std::byte> bytes(kChunk);
  chunks.read(bytes, 0);  // not kept, but right
  EXPECT_EQ(bytes, filled(kChunk, 0));
  EXPECT_EQ(chunks.map().present_count(), 0u);
  disk.write_error = 0;
  disk.sync_error = EIO;
  EXPECT_EQ(error_of([&] { store.sync(); }), EIO);
}

// A managed mount over a simulated disk, with no other thread than the pusher's.
struct OnSimulatedDisk {
  SimulatedDisk disk;
  MemoryBackend remote{kSize};
  FileStore store{disk, "cache", owner(), kBoot};
  SequentialSource nothing{0};
  std::unique_ptr<Cached> cached;

  OnSimulatedDisk() {
    std::memset(remote.bytes().data(), 9, kSize);
    CachedOptions options;
    options.chunk = kChunk;
    options.push.interval = std::chrono::milliseconds(0);
    cached = std::make_unique<Cached>(remote, store, nothing, options);
  }
};

// What is clean the remote has as well; what is dirty is nowhere else.
TEST(CachedFile, WhatTheDiskDoesNotGiveBackIsReadFromTheRemote) {
  OnSimulatedDisk on;
  read_bytes(*on.cached, 0, 8 * kChunk);
  on.cached->write_at(filled(kChunk, 3), 4 * kChunk);
  on.disk.bad_from = CacheLayout(kSize, kChunk).data + kChunk;
  on.disk.bad_to = on.disk.bad_from + 5 * kChunk;
  EXPECT_EQ(read_bytes(*on.cached, 0, 4 * kChunk), filled(4 * kChunk, 9));
  EXPECT_EQ(on.cached->numbers().cache_error, EIO);
  std::vector<std::byte> bytes(kChunk);
  EXPECT_EQ(error_of([&] { on.cached->read_at(bytes, 4 * kChunk); }), EIO);
  EXPECT_EQ(error_of([&] { on.cached->flush(); }), EIO);  // nothing else is pushed in its place
  on.disk.bad_to = 0;
  EXPECT_EQ(read_bytes(*on.cached, 4 * kChunk, kChunk), filled(kChunk, 3));
  on.cached->flush();
  EXPECT_EQ(read_bytes(on.remote, 4 * kChunk, kChunk), filled(kChunk, 3));
}

// A sync that failed: the remote gets everything, nothing is written here again, no start believes it.
TEST(CachedFile, ADiskThatFailsToSyncIsNeverBelievedAgain) {
  OnSimulatedDisk on;
  read_bytes(*on.cached, 0, 8 * kChunk);
  on.cached->write_at(filled(kChunk, 3), 4 * kChunk);
  on.disk.sync_error = EIO;
  on.disk.sync_failures = 1;
  on.cached->flush();
  EXPECT_EQ(read_bytes(on.remote, 4 * kChunk, kChunk), filled(kChunk, 3));
  EXPECT_EQ(on.cached->numbers().dirty, 0u);
  EXPECT_EQ(on.cached->numbers().cache_error, EIO);
  EXPECT_EQ(error_of([&] { on.cached->write_at(filled(kChunk, 4), 0); }), EIO);
  std::memset(on.disk.bytes().data() + CacheLayout(kSize, kChunk).data, 1, 8 * kChunk);  // it lost them
  EXPECT_EQ(read_bytes(*on.cached, 3 * kChunk, kChunk), filled(kChunk, 9));
  EXPECT_EQ(read_bytes(*on.cached, 4 * kChunk, kChunk), filled(kChunk, 3));
  EXPECT_EQ(error_of([&] { on.store.close(); }), EIO);
  EXPECT_NE(refusal(on.disk.after_kill(), owner()).find("cannot be believed"), std::string::npos);
}

// Not even the label says so: then nothing is called pushed, for the next start would believe older bytes.
TEST(CachedFile, ADiskThatFailsForGoodKeepsWhatIsDirtyDirty) {
  OnSimulatedDisk on;
  on.cached->write_at(filled(kChunk, 3), 4 * kChunk);
  on.disk.sync_error = EIO;
  EXPECT_EQ(error_of([&] { on.cached->flush(); }), EIO);
  EXPECT_EQ(on.cached->numbers().dirty, kChunk);
  EXPECT_EQ(error_of([&] { on.store.sync(); }), EIO);
}

TEST(CachedFile, WhatIsForgottenIsFetchedAgain) {
  OnSimulatedDisk on;
  read_bytes(*on.cached, 0, 8 * kChunk);
  on.store.sync();
  on.cached->write_at(filled(kChunk, 3), 4 * kChunk);
  std::memset(on.remote.bytes().data(), 5, kSize);
  EXPECT_TRUE(on.cached->chunks().room().forget(2));
  EXPECT_FALSE(on.cached->chunks().room().forget(4));
  EXPECT_FALSE(on.cached->chunks().room().forget(600));
  EXPECT_EQ(read_bytes(*on.cached, kChunk, kChunk), filled(kChunk, 9));
  EXPECT_EQ(read_bytes(*on.cached, 2 * kChunk, kChunk), filled(kChunk, 5));
  EXPECT_EQ(read_bytes(*on.cached, 4 * kChunk, kChunk), filled(kChunk, 3));
}

TEST(FileDisk, IsForOneProcessOnly) {
  TemporaryDirectory directory;
  FileDisk first(directory.path() + "/cache");
  EXPECT_EQ(error_of([&] { FileDisk second(directory.path() + "/cache"); }), EBUSY);
  EXPECT_EQ(error_of([&] { FileDisk other(directory.path()); }), EINVAL);
}

}  // namespace
}  // namespace r3::test
