// SPDX-License-Identifier: Apache-2.0
// The least that a block syncer which keeps state between runs can be: state_sync SOURCE STATE TARGET reads the
// source, hashes blocks of 4 KiB, compares with the hashes in STATE, writes what changed to TARGET, and keeps
// the new hashes. One thread, no network, no mapping, no checks.
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

int main(int argc, char** argv) try {
  using namespace r3;
  constexpr std::size_t kBlock = 4 * KiB, kRead = 1 * MiB;
  if (argc != 4) return 2;
  const Fd source = open_file(argv[1], O_RDONLY), state = open_file(argv[2], O_RDWR | O_CREAT),
           target = open_file(argv[3], O_RDWR | O_CREAT);
  std::vector<std::byte> data(kRead), hashes(kRead / kBlock * 8);
  std::uint64_t changed = 0, offset = 0;
  for (std::size_t n; (n = pread_full(source.get(), data, offset)) > 0; offset += n) {
    const auto where = offset / kBlock * 8;
    const auto blocks = (n + kBlock - 1) / kBlock;
    std::ranges::fill(hashes, std::byte{0});
    pread_full(state.get(), Bytes(hashes).first(blocks * 8), where);
    for (std::size_t i = 0; i < blocks; ++i) {
      const auto length = std::min(kBlock, n - i * kBlock);
      const std::uint64_t hash = XXH3_64bits(&data[i * kBlock], length);
      if (load_le<std::uint64_t>(&hashes[i * 8]) == hash) continue;
      store_le(&hashes[i * 8], hash);
      pwrite_full(target.get(), ConstBytes(data).subspan(i * kBlock, length), offset + i * kBlock);
      ++changed;
    }
    pwrite_full(state.get(), ConstBytes(hashes).first(blocks * 8), where);
  }
  check(::ftruncate(target.get(), static_cast<off_t>(offset)), argv[3]);
  std::printf("%llu\n", static_cast<unsigned long long>(changed));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "state_sync: %s\n", error.what());
  return 1;
}
