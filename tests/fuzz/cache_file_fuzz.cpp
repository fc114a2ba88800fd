// SPDX-License-Identifier: Apache-2.0
// A cache file that anything was written into: patches of a good one, with its sums made right again or not.
// It is refused and unchanged, or it can be used: then every chunk that was written reads as it was.
//
//   first byte: 1 labels, 2 pages are sealed again, 4 another boot; then patches: offset u16, length u8, bytes
#include <cstdlib>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/cached_chunks.hpp"
#include "libcommon/storage/cached_file.hpp"
#include "tests/unit/cached_disk_double.hpp"

namespace {

using namespace r3;
using test::SimulatedDisk;

constexpr std::uint64_t kChunk = 512, kSize = 300 * kChunk - 100;
const CacheOwner kOwner{"memory:fuzz", kSize, 0, kChunk};
constexpr std::array<std::byte, 16> kBoot{std::byte{1}}, kNextBoot{std::byte{2}};

void require(bool holds) {
  if (!holds) std::abort();
}

SimulatedDisk make_good() {
  SimulatedDisk disk;
  FileStore store(disk, "cache", kOwner, kBoot);
  MemoryBackend remote(kSize);
  CachedChunks chunks(remote, store, kChunk, ~0ULL);
  std::vector<std::byte> bytes(100 * kChunk, std::byte{7});
  chunks.read(bytes, 0);
  chunks.change({ConstBytes(bytes).first(kChunk), 5 * kChunk, kChunk});
  store.sync();
  return disk.after_kill();
}

template <class Struct>
void seal_again(SimulatedDisk& disk, std::uint64_t offset) {
  Struct one;
  std::memcpy(static_cast<void*>(&one), disk.bytes().data() + offset, sizeof one);
  seal(one);
  std::memcpy(disk.bytes().data() + offset, &one, sizeof one);
}

void patch(SimulatedDisk& disk, ConstBytes input, unsigned flags) {
  const CacheLayout layout(kSize, kChunk);
  while (input.size() > 3) {
    const auto offset = load_le<std::uint16_t>(input.data()) % layout.data;
    const auto length = std::min<std::size_t>(std::to_integer<std::size_t>(input[2]), input.size() - 3);
    std::copy_n(input.begin() + 3, std::min<std::uint64_t>(length, layout.data - offset),
                disk.bytes().begin() + static_cast<std::ptrdiff_t>(offset));
    input = input.subspan(3 + length);
  }
  for (std::uint64_t place = 0; place < 2; ++place) {
    if ((flags & 1) != 0) seal_again<CacheLabel>(disk, place * kCachePage);
    for (std::uint64_t page = 0; (flags & 2) != 0 && page < layout.pages; ++page)
      seal_again<CachePage>(disk, layout.first_page + (2 * page + place) * kCachePage);
  }
}

void use(FileStore& store) {
  MemoryBackend remote(kSize);
  CachedChunks chunks(remote, store, kChunk, ~0ULL);
  require(chunks.map().dirty_count() <= chunks.map().present_count());
  require(chunks.map().present_count() <= chunks.map().chunks());
  std::vector<std::byte> bytes(kSize), written(10 * kChunk, std::byte{9}), read(10 * kChunk);
  chunks.read(bytes, 0);
  chunks.change({written, 250 * kChunk + 8, written.size()});
  chunks.read(read, 250 * kChunk + 8);
  require(read == written);
  store.sync();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const SimulatedDisk good = make_good();
  if (size == 0) return 0;
  SimulatedDisk disk = good;
  patch(disk, std::as_bytes(std::span(data, size)).subspan(1), data[0]);
  const auto before = disk.bytes();
  std::unique_ptr<FileStore> store;
  try {
    store = std::make_unique<FileStore>(disk, "cache", kOwner, (data[0] & 4) != 0 ? kNextBoot : kBoot);
  } catch (const std::system_error&) {
    require(disk.bytes() == before);
    return 0;
  }
  use(*store);
  return 0;
}
