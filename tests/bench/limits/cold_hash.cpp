// SPDX-License-Identifier: Apache-2.0
// The least that comparing two files can be for who knows nothing yet: each is read once by a thread of its own
// into a buffer that stays in the cache, and its pages are hashed there (XXH3-128). Prints one line of JSON.
//
//   cold_hash FILE FILE2 [read]      read: without hashing
#include <fcntl.h>
#include <xxh_x86dispatch.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "libcommon/base/fd.hpp"

namespace {

constexpr std::size_t kBuffer = 256 * 1024, kPage = 4096;

std::uint64_t look(const char* path, bool hashes, std::uint64_t& size) {
  const r3::Fd file = r3::open_file(path, O_RDONLY);
  std::vector<std::byte> buffer(kBuffer);
  std::uint64_t sum = 0;
  for (size = 0;;) {
    const auto count = r3::pread_full(file.get(), buffer, size, path);
    if (count == 0) return sum;
    for (std::size_t at = 0; hashes && at < count; at += kPage)
      sum ^= XXH3_128bits(&buffer[at], std::min(kPage, count - at)).low64;
    size += count;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) throw std::invalid_argument("usage: cold_hash FILE FILE2 [read]");
  const bool hashes = argc < 4;
  std::uint64_t sizes[2], sums[2];
  const auto begun = std::chrono::steady_clock::now();
  std::thread other([&] { sums[1] = look(argv[2], hashes, sizes[1]); });
  sums[0] = look(argv[1], hashes, sizes[0]);
  other.join();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  std::printf("{\"equal\":%s,\"seconds\":%.6f}\n", sums[0] == sums[1] && sizes[0] == sizes[1] ? "true" : "false", seconds);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "cold_hash: %s\n", error.what());
  return 1;
}
