// SPDX-License-Identifier: Apache-2.0
// track-load SECONDS: what tracking adds to a write of 4 KiB to memory: random blocks of 64 MiB, without the
// decorator, with it while nobody tracks, and tracked. Prints nanoseconds a write as JSON. A map is taken all the
// time, as a leecher does, so that blocks have to be marked again.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "libcommon/storage/memory.hpp"
#include "libcommon/storage/tracked.hpp"

namespace {

using namespace r3;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSize = 64 * MiB, kBlock = 4 * KiB;
constexpr int kBatch = 4096;

// `between` after each batch, outside of the time.
template <class Between>
double nanoseconds(Backend& region, double seconds, Between between) {
  std::mt19937_64 random(1);
  const std::vector<std::byte> block(kBlock, std::byte{7});
  double spent = 0;
  std::uint64_t writes = 0;
  while (spent < seconds) {
    const auto begin = Clock::now();
    for (int i = 0; i < kBatch; ++i) region.write_at(block, random() % (kSize / kBlock) * kBlock);
    spent += std::chrono::duration<double>(Clock::now() - begin).count();
    writes += kBatch;
    between();
  }
  return spent * 1e9 / static_cast<double>(writes);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) / 4 : 0.2;
  MemoryBackend memory(kSize);
  Tracked tracked(memory);
  const auto nothing = [] {};
  nanoseconds(memory, seconds, nothing);  // every page is there
  const double plain = nanoseconds(memory, seconds, nothing);
  const double idle = nanoseconds(tracked, seconds, nothing);
  const unsigned map = tracked.track();
  const double busy = nanoseconds(tracked, seconds, [&] { tracked.take(map); });
  std::printf("{\"one thread\":{\"tracked\":%.1f,\"nobody tracks\":%.1f,\"memory alone\":%.1f}}\n", busy, idle, plain);
}
