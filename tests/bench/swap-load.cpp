// SPDX-License-Identifier: Apache-2.0
// A program that needs much memory: fills it with bytes that cannot be compressed, then reads all of it in a
// shuffled order, and says how many words were not what they had to be.
//
//   swap-load SIZE [ROUNDS]         prints: fill SECONDS read SECONDS bad COUNT
//   swap-load --hold SIZE           fills, prints "full", waits for a line on stdin, checks, prints the same
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kWords = kPage / sizeof(std::uint64_t);

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// SplitMix64 (Steele, Lea, Flood 2014): each word follows from its place alone.
std::uint64_t word_at(std::uint64_t place, std::uint64_t round) {
  std::uint64_t z = (place + round * 0x1234567ULL + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

void fill(std::uint64_t* words, std::uint64_t pages, std::uint64_t round) {
  for (std::uint64_t i = 0; i < pages * kWords; ++i) words[i] = word_at(i, round);
}

// Every page once, in runs of 64, these in a shuffled order: a step that has no common divisor with their number.
std::uint64_t check(const std::uint64_t* words, std::uint64_t pages, std::uint64_t round) {
  constexpr std::uint64_t kRun = 64 * kWords;
  const std::uint64_t all = pages * kWords;
  const std::uint64_t runs = (all + kRun - 1) / kRun;
  const std::uint64_t step = runs % 37 == 0 ? 41 : 37;
  std::uint64_t bad = 0;
  for (std::uint64_t n = 0, run = 0; n < runs; ++n, run = (run + step) % runs)
    for (std::uint64_t i = run * kRun; i < std::min(all, (run + 1) * kRun); ++i) bad += words[i] != word_at(i, round);
  return bad;
}

}  // namespace

int main(int argc, char** argv) try {
  const bool hold = argc > 1 && std::strcmp(argv[1], "--hold") == 0;
  const char* const* const rest = argv + (hold ? 2 : 1);
  const std::uint64_t pages = r3::parse_size(rest[0] != nullptr ? rest[0] : "0") / kPage;
  const std::uint64_t rounds = !hold && rest[0] != nullptr && rest[1] != nullptr ? std::stoull(rest[1]) : 1;
  if (pages == 0) throw std::invalid_argument("swap-load: SIZE is missing");
  void* const memory = ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) r3::fail(errno, "mmap");
  ::madvise(memory, pages * kPage, MADV_NOHUGEPAGE);
  auto* const words = static_cast<std::uint64_t*>(memory);
  std::uint64_t bad = 0;
  double filling = 0, reading = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const double begun = now();
    fill(words, pages, round);
    if (hold) {
      std::puts("full");
      std::fflush(stdout);
      while (true) {
        const int c = std::getchar();
        if (c == '\n' || c == EOF) break;
      }
    }
    const double filled = now();
    bad += check(words, pages, round);
    filling += filled - begun;
    reading += now() - filled;
  }
  std::printf("fill %.3f read %.3f bad %llu\n", filling, reading, static_cast<unsigned long long>(bad));
  return bad == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
