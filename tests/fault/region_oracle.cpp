// SPDX-License-Identifier: Apache-2.0
// Uses any region as a random application would, and knows what it has to see: writes, reads back, zeroes and
// flushes, a part of the region for each thread. Fails at the first wrong byte and on any error. What the region
// held before must be zero. STEPS 0: until stdin ends. Says when it is connected, and how
// many steps it made.
//
//   region_oracle REGION STEPS SEED [THREADS]
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

namespace {

class Application {
 public:
  Application(Backend& backend, std::uint64_t begin, std::uint64_t size, std::uint64_t seed)
      : backend_(backend), begin_(begin), random_(seed), expected_(size) {}

  // Returns how many steps it made.
  std::uint64_t run(std::uint64_t steps, const Stop& stop, const std::atomic<bool>& enough) {
    std::uint64_t made = 0;
    for (; (steps == 0 ? !enough : made < steps) && !stop.requested(); ++made) step();
    backend_.flush();
    look(0, expected_.size());
    return made;
  }

 private:
  void step() {
    const auto length = 1 + random_() % (random_() % 8 == 0 ? 100'000 : 5'000);
    const auto at = random_() % (expected_.size() - length);
    const auto part = Bytes(expected_).subspan(at, length);
    const auto what = random_() % 16;
    if (what == 0) return backend_.flush();
    if (what == 1) {
      std::fill(part.begin(), part.end(), std::byte{0});
      return backend_.zero_at(begin_ + at, length);
    }
    if (what >= 9) return look(at, length);
    for (auto& b : part) b = static_cast<std::byte>(random_());
    backend_.write_at(part, begin_ + at);
  }

  void look(std::uint64_t at, std::uint64_t length) {
    seen_.resize(length);
    backend_.read_at(seen_, begin_ + at);
    if (std::memcmp(seen_.data(), expected_.data() + at, length) != 0)
      throw std::runtime_error("wrong bytes between " + std::to_string(begin_ + at) + " and " +
                               std::to_string(begin_ + at + length));
  }

  Backend& backend_;
  const std::uint64_t begin_;
  std::mt19937_64 random_;
  std::vector<std::byte> expected_, seen_;
};

int use(int argc, char** argv) {
  RegionOptions options;
  options.connections = 2;
  const auto backend = open_region(parse_region(argv[1]), options);
  std::puts("connected");
  std::fflush(stdout);
  const std::uint64_t steps = std::stoull(argv[2]), seed = std::stoull(argv[3]);
  const std::uint64_t threads = argc > 4 ? std::stoull(argv[4]) : 4;
  const auto each = backend->size() / threads;
  std::atomic<std::uint64_t> made{0};
  std::atomic<bool> enough{false};
  TaskGroup group;
  for (std::uint64_t t = 0; t < threads; ++t)
    group.spawn([&, t] {
      made += Application(*backend, t * each, each, seed * 1000 + t)
                  .run(steps / threads, group.stop(), enough);
    });
  if (steps == 0)
    group.spawn([&] {
      char byte;
      while (wait_for(STDIN_FILENO, POLLIN, group.stop(), kForever) == Wait::ready &&
             ::read(STDIN_FILENO, &byte, 1) > 0) {
      }
      enough = true;
    });
  group.join();
  std::printf("%llu steps\n", static_cast<unsigned long long>(made));
  return 0;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::fputs("usage: region_oracle REGION STEPS SEED [THREADS]\n", stderr);
    return 2;
  }
  try {
    return r3::use(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "region_oracle: %s\n", error.what());
    return 1;
  }
}
