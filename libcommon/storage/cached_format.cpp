// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_format.hpp"

#include <xxhash.h>

#include <bit>
#include <cstddef>

namespace r3 {

static_assert(std::endian::native == std::endian::little, "the structures are written as they are");

namespace {

template <class Struct>
std::uint64_t sum_of(const Struct& what) {
  return XXH3_64bits(&what, offsetof(Struct, sum));
}

}  // namespace

CacheLayout::CacheLayout(std::uint64_t size, std::uint64_t chunk)
    : chunks((size + chunk - 1) / chunk),
      map_words(round_up((chunks + 63) / 64 * 8, kCachePage) / 8),
      pages((chunks + CachePage::kChunks - 1) / CachePage::kChunks),
      live(2 * kCachePage),
      first_page(live + 2 * map_words * 8),
      data(round_up(first_page + pages * 2 * kCachePage, 1 * MiB)),
      end(data + chunks * chunk) {}

void seal(CacheLabel& label) { label.sum = sum_of(label); }
void seal(CachePage& page) { page.sum = sum_of(page); }

bool whole(const CacheLabel& label) {
  return label.magic == CacheLabel{}.magic && label.sum == sum_of(label);
}

bool whole(const CachePage& page) { return page.sequence != 0 && page.sum == sum_of(page); }

std::array<std::byte, 16> name_hash(std::string_view name) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(name.data(), name.size()));
  return std::bit_cast<std::array<std::byte, 16>>(canonical);
}

}  // namespace r3
