// SPDX-License-Identifier: Apache-2.0
// A server that is killed and started again at random points, with what was not flushed lost in part, under
// clients that read, write, zero and flush and know what they have to see. R3_KILLS and R3_SEED choose more.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/r3_host.hpp"

namespace {

using namespace r3;
using namespace r3::test;

constexpr std::uint64_t kPage = 512;

// A disk with a cache: crash() forgets some of what was written since the last flush.
class CrashingDisk : public Backend {
 public:
  explicit CrashingDisk(std::uint64_t size) : now_(size), stable_(size), dirty_(size / kPage) {}
  std::uint64_t size() const override { return now_.size(); }
  void read_at(Bytes into, std::uint64_t offset) override {
    check_read_range(size(), offset, into.size());
    std::lock_guard lock(mutex_);
    std::copy_n(now_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    check_write_range(size(), offset, from.size());
    std::lock_guard lock(mutex_);
    std::copy(from.begin(), from.end(), now_.begin() + static_cast<std::ptrdiff_t>(offset));
    for (auto page = offset / kPage; page * kPage < offset + from.size(); ++page) dirty_[page] = true;
  }
  void flush() override {
    std::lock_guard lock(mutex_);
    stable_ = now_;
    dirty_.assign(dirty_.size(), false);
  }
  void crash(std::mt19937_64& random) {
    std::lock_guard lock(mutex_);
    for (std::size_t page = 0; page < dirty_.size(); ++page)
      if (dirty_[page] && random() % 2 == 0)
        std::memcpy(now_.data() + page * kPage, stable_.data() + page * kPage, kPage);
    stable_ = now_;
    dirty_.assign(dirty_.size(), false);
  }
  ConstBytes bytes() const { return now_; }

 private:
  std::mutex mutex_;
  std::vector<std::byte> now_, stable_;  // guarded by mutex_
  std::vector<bool> dirty_;              // guarded by mutex_
};

unsigned number_from(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text ? static_cast<unsigned>(std::atoi(text)) : otherwise;
}

// One application thread with a part of the region of its own.
struct Application {
  Backend& backend;
  const std::uint64_t begin, size;
  std::mt19937_64 random;
  std::vector<std::byte> expected = std::vector<std::byte>(size);
  std::vector<std::byte> buffer = {};

  void step() {
    const auto length = 1 + random() % (random() % 8 == 0 ? 40'000 : 3'000);
    const auto at = random() % (size - length);
    const auto part = Bytes(expected).subspan(at, length);
    switch (random() % 16) {
      case 0: return backend.flush();
      case 1:
        std::fill(part.begin(), part.end(), std::byte{0});
        return backend.zero_at(begin + at, length);
      case 2: case 3: case 4: case 5: case 6: case 7: case 8:
        for (auto& b : part) b = static_cast<std::byte>(random());
        return backend.write_at(part, begin + at);
      default:
        buffer.resize(length);
        backend.read_at(buffer, begin + at);
        if (std::memcmp(buffer.data(), part.data(), length) != 0)
          throw std::runtime_error("wrong bytes at " + std::to_string(begin + at));
    }
  }
};

void run_with_crashes(unsigned connections, unsigned kills, unsigned seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  CrashingDisk disk(1 * MiB);
  R3ServerOptions server;
  server.max_transfer = 16 * KiB;
  R3Host host({{"", &disk}}, server);
  R3ClientOptions options;
  options.connections = connections;
  options.replay_limit = 256 * KiB;
  const auto client = host.client(options);
  std::atomic<std::uint64_t> steps{0};
  std::atomic<bool> ended{false};
  std::vector<std::string> errors(4);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < errors.size(); ++t)
    threads.emplace_back([&, t] {
      Application application{*client, t * 256 * KiB, 256 * KiB, std::mt19937_64(seed * 100 + t)};
      try {
        while (!ended) {
          application.step();
          ++steps;
        }
        client->flush();
        if (std::memcmp(disk.bytes().data() + application.begin, application.expected.data(),
                        application.size) != 0)
          errors[t] = "the disk differs";
      } catch (const std::exception& error) {
        errors[t] = error.what();
        ended = true;
      }
    });
  for (unsigned i = 0; i < kills && !ended; ++i) {
    const auto until = steps + random() % 60;
    while (steps < until && !ended) std::this_thread::yield();
    host.kill();
    disk.crash(random);
    host.start();
  }
  ended = true;
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors) EXPECT_EQ(error, "");
}

TEST(R3Restart, NothingIsWrongAndNothingFlushedIsLost) {
  const auto kills = number_from("R3_KILLS", 30);
  const auto seed = number_from("R3_SEED", 1);
  run_with_crashes(1, kills / 2, seed);
  run_with_crashes(3, kills / 2, seed + 1);
}

}  // namespace
