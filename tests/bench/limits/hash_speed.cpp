// SPDX-License-Identifier: Apache-2.0
// How fast hashes look at memory: hash_speed SIZE CHUNK THREADS prints, as JSON, bytes a second of processor
// time and of the clock for each algorithm, and for reading alone, which is the limit. CHUNK 0: as a whole.
#include <sodium.h>
#include <time.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#include <atomic>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"

namespace {

using namespace r3;
using Algorithm = std::uint64_t (*)(const unsigned char* data, std::size_t size);

std::uint64_t read_only(const unsigned char* data, std::size_t size) {
  std::uint64_t sums[8]{};
  for (std::size_t i = 0; i + 64 <= size; i += 64)
    for (int k = 0; k < 8; ++k) sums[k] ^= load_le<std::uint64_t>(reinterpret_cast<const std::byte*>(data + i) + 8 * k);
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
}
std::uint64_t xxh3_64(const unsigned char* data, std::size_t size) { return XXH3_64bits(data, size); }
std::uint64_t xxh3_128(const unsigned char* data, std::size_t size) { return XXH3_128bits(data, size).low64; }
#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint64_t crc32c(const unsigned char* data, std::size_t size) {
  std::uint64_t crc = ~0ULL;
  for (std::size_t i = 0; i + 8 <= size; i += 8)
    crc = _mm_crc32_u64(crc, load_le<std::uint64_t>(reinterpret_cast<const std::byte*>(data + i)));
  return crc;
}
#endif
std::uint64_t blake2b(const unsigned char* data, std::size_t size) {
  unsigned char out[32];
  crypto_generichash(out, sizeof out, data, size, nullptr, 0);
  return out[0];
}
std::uint64_t sha256(const unsigned char* data, std::size_t size) {
  unsigned char out[32];
  crypto_hash_sha256(out, data, size);
  return out[0];
}

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::atomic<std::uint64_t> kept{0};  // so that nothing is left out

void measure(const char* name, Algorithm algorithm, ConstBytes memory, std::size_t chunk, unsigned threads) {
  const auto* const data = reinterpret_cast<const unsigned char*>(memory.data());
  const std::size_t share = memory.size() / threads;
  const auto begun = std::chrono::steady_clock::now();
  const double cpu = cpu_seconds();
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t)
    all.emplace_back([=] {
      const std::size_t step = chunk == 0 ? share : chunk;
      std::uint64_t sum = 0;
      for (std::size_t at = t * share; at + step <= (t + 1) * share; at += step) sum ^= algorithm(data + at, step);
      kept ^= sum;
    });
  for (auto& one : all) one.join();
  const double used = cpu_seconds() - cpu;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  const auto bytes = static_cast<double>(share * threads);
  std::printf("{\"algorithm\":\"%s\",\"bytes_per_cpu_second\":%.6g,\"bytes_per_second\":%.6g}\n", name, bytes / used,
              bytes / took.count());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || sodium_init() < 0) return 2;
  const auto size = static_cast<std::size_t>(parse_size(argv[1]));
  const auto chunk = static_cast<std::size_t>(parse_size(argv[2]));
  const auto threads = static_cast<unsigned>(parse_size(argv[3]));
  const Mapping memory = Mapping::anonymous(size);
  std::uint64_t word = 88172645463325252ULL;
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    word ^= word << 13, word ^= word >> 7, word ^= word << 17;
    store_le(&memory.bytes()[i], word);
  }
  const std::pair<const char*, Algorithm> all[] = {
      {"read", read_only}, {"XXH3-64", xxh3_64}, {"XXH3-128", xxh3_128},
#if defined(__x86_64__)
      {"CRC32C", crc32c},
#endif
      {"BLAKE2b", blake2b}, {"SHA-256", sha256}};
  for (const auto& [name, algorithm] : all) measure(name, algorithm, memory.bytes(), chunk, threads);
}
