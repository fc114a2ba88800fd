// SPDX-License-Identifier: Apache-2.0
// The layout of a cache file (r3-mount(1), THE CACHE FILE, has the tables). Integers are little-endian.
//
//   label, twice | live maps: present, dirty | map pages, each twice | data, chunk by chunk
//
// Labels and map pages have two places each, a sequence number and a checksum: a new one is written over
// the older of the two and synced before the other is touched, so that one is always whole.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "libcommon/base/bytes.hpp"

namespace r3 {

inline constexpr std::uint64_t kCachePage = 4096;

// What a cache belongs to.
struct CacheOwner {
  std::string name;  // of the region
  std::uint64_t size = 0;
  std::uint64_t instance = 0;
  std::uint64_t chunk = 0;
};

struct CacheLabel {
  std::array<char, 8> magic{'R', '3', 'C', 'A', 'C', 'H', 'E', '1'};
  std::uint32_t version = 1;
  std::uint32_t chunk = 0;
  std::uint64_t size = 0;       // of the region
  std::uint64_t sequence = 0;
  std::array<std::byte, 16> boot{};    // the boot of the system that it was opened in
  std::array<std::byte, 16> region{};  // XXH3-128 of the region's name
  std::uint64_t instance = 0;          // of the region's content, as its server says
  static constexpr std::uint64_t kClosed = 0, kOpen = 1, kFailed = 2;
  std::uint64_t open = kClosed;        // open: in use, or its user was killed; failed: a sync was
  std::uint64_t pages = 0;      // closed: the sum of the sequence numbers of all map pages
  std::array<char, 896> name{};        // the region's name, for people; ends with 0
  std::uint64_t sum = 0;        // XXH3-64 of all before
};
static_assert(sizeof(CacheLabel) == 992);

// Two bits and a share of an intent bit for each of 16128 chunks.
struct CachePage {
  static constexpr std::uint64_t kGroups = 63;   // of 256 chunks
  static constexpr std::uint64_t kWords = kGroups * 4;
  static constexpr std::uint64_t kChunks = kWords * 64;

  std::uint64_t sequence = 0;  // 0: never written
  std::uint64_t number = 0;
  std::uint64_t intent = 0;    // a bit a group: its present chunks may have been overwritten
  std::array<std::uint64_t, kWords> present{};
  std::array<std::uint64_t, kWords> dirty{};
  std::array<std::uint64_t, 4> reserved{};
  std::uint64_t sum = 0;       // XXH3-64 of all before
};
static_assert(sizeof(CachePage) == kCachePage);

// Where things are in the file.
struct CacheLayout {
  std::uint64_t chunks, map_words, pages, live, first_page, data, end;
  CacheLayout(std::uint64_t size, std::uint64_t chunk);
};

// Seals: sets `sum`. Whole: whether it is right.
void seal(CacheLabel& label);
void seal(CachePage& page);
bool whole(const CacheLabel& label);
bool whole(const CachePage& page);
std::array<std::byte, 16> name_hash(std::string_view name);

}  // namespace r3
