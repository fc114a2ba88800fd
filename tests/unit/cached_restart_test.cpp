// SPDX-License-Identifier: Apache-2.0
// A managed mount of an r3 server that is killed and started again, and loses what it had not flushed each
// time: what was flushed is there, byte for byte, and what is read is what was written last.
#include <gtest/gtest.h>

#include <cstdlib>
#include <mutex>
#include <random>

#include "libcommon/storage/cached.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/r3_host.hpp"

namespace r3::test {
namespace {

constexpr std::uint64_t kSize = 1 * MiB;

// VolatileBackend for many threads.
class LossyBackend : public Backend {
 public:
  std::uint64_t size() const override { return kSize; }
  void read_at(Bytes into, std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    below_.read_at(into, offset);
  }
  void write_at(ConstBytes from, std::uint64_t offset) override {
    const std::lock_guard lock(mutex_);
    below_.write_at(from, offset);
  }
  void flush() override {
    const std::lock_guard lock(mutex_);
    below_.flush();
  }
  void lose() {
    const std::lock_guard lock(mutex_);
    below_.lose();
  }

 private:
  std::mutex mutex_;
  VolatileBackend below_{kSize};  // guarded by mutex_
};

class Lossy {
 public:
  explicit Lossy(unsigned seed) : random_(seed) {
    CachedOptions options;
    options.capacity = 512 * KiB;  // so that chunks are given up and fetched again
    options.push.soon = 64 * KiB;
    options.push.interval = std::chrono::milliseconds(1);
    client_ = host_.client();
    cached_ = std::make_unique<Cached>(*client_, store_, source_, options);
  }

  void step() {
    switch (random_() % 32) {
      case 0: return restart();
      case 1: return flush();
      default: return random_() % 2 == 0 ? write() : check();
    }
  }
  void flush() {
    cached_->flush();
    restart();
    ASSERT_EQ(read_bytes(disk_, 0, kSize), expected_);
  }
  unsigned restarts() const { return restarts_; }

 private:
  void restart() {
    host_.kill();
    disk_.lose();
    host_.start();
    ++restarts_;
  }
  std::uint64_t place(std::uint64_t length) { return random_() % (kSize - length + 1); }
  void write() {
    std::vector<std::byte> bytes(1 + random_() % (random_() % 8 == 0 ? 128 * KiB : 8 * KiB));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    const auto at = place(bytes.size());
    cached_->write_at(bytes, at);
    std::copy(bytes.begin(), bytes.end(), expected_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  void check() {
    const auto length = 1 + random_() % (64 * KiB);
    const auto at = place(length);
    const auto begin = expected_.begin() + static_cast<std::ptrdiff_t>(at);
    ASSERT_EQ(read_bytes(*cached_, at, length),
              std::vector(begin, begin + static_cast<std::ptrdiff_t>(length)));
  }

  std::mt19937_64 random_;
  LossyBackend disk_;
  R3Host host_{{{"", &disk_}}};
  MemoryStore store_{kSize, 4 * KiB};
  SequentialSource source_{kSize};
  std::vector<std::byte> expected_ = std::vector<std::byte>(kSize);
  std::unique_ptr<R3Client> client_;
  std::unique_ptr<Cached> cached_;
  unsigned restarts_ = 0;
};

TEST(CachedRestart, AServerThatLosesWhatItHadNotFlushedLosesNothing) {
  const char* more = std::getenv("R3_RESTARTS");
  const unsigned enough = more ? static_cast<unsigned>(std::atoi(more)) : 40;
  Lossy run(7);
  while (run.restarts() < enough && !testing::Test::HasFatalFailure()) run.step();
  run.flush();
}

}  // namespace
}  // namespace r3::test
