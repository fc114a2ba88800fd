// SPDX-License-Identifier: Apache-2.0
// The chunks of a file, and their hashes on three levels: chunks, groups of 256 chunks, the root. Holes cost
// nothing: a group of which nothing was set takes no memory, and is zero. Knows no file.
#pragma once

#include <memory>
#include <vector>

#include "tools/mmap-hashsync/hashing.hpp"

namespace r3::sync {

inline constexpr std::uint64_t kGroup = 256;                    // chunks
inline constexpr std::uint64_t kMostChunks = 1ULL << 30;        // 4 TiB in chunks of 4 KiB
inline constexpr std::uint32_t kLeastChunk = 4096;
inline constexpr std::uint32_t kMostChunk = 1U << 20;

// A file cut into aligned chunks, of which the last may be shorter.
struct Geometry {
  std::uint64_t size = 0;
  std::uint32_t chunk = kLeastChunk;

  std::uint64_t chunks() const { return size / chunk + (size % chunk != 0); }
  std::uint64_t groups() const { return (chunks() + kGroup - 1) / kGroup; }
  std::uint64_t offset(std::uint64_t index) const { return index * chunk; }
  std::size_t length(std::uint64_t index) const {
    return static_cast<std::size_t>(std::min<std::uint64_t>(chunk, size - offset(index)));
  }
  // How many chunks the group has: fewer than 256 only in the last one.
  std::uint64_t chunks_in(std::uint64_t group) const { return std::min(kGroup, chunks() - group * kGroup); }
  friend bool operator==(const Geometry&, const Geometry&) = default;
};

// Whether a peer may name such a file: a power of two between 4 KiB and 1 MiB, not too many chunks.
bool acceptable(const Geometry& geometry);

// Threads may set chunks of different groups at once.
class HashTable {
 public:
  using Group = std::array<Hash, kGroup>;

  HashTable() = default;
  HashTable clone() const;
  // Chunks that are new are zero; what is cut off is forgotten.
  void resize(const Geometry& geometry);
  const Geometry& geometry() const { return geometry_; }

  Hash at(std::uint64_t index) const {
    const auto& group = groups_[index / kGroup];
    return group ? (*group)[index % kGroup] : Hash{};
  }
  void set(std::uint64_t index, const Hash& hash);
  // The group's hashes; null: all zero.
  const Group* group(std::uint64_t index) const { return groups_[index].get(); }

  Hash of_group(std::uint64_t group, const Hasher& hasher) const;
  Hash root(const Hasher& hasher) const;
  // `count` hashes of a level (0: chunks, 1: groups, 2: the root) from `first` on; they must be there.
  std::vector<Hash> level(unsigned level, std::uint64_t first, std::uint64_t count,
                          const Hasher& hasher) const;

 private:
  Geometry geometry_;
  std::vector<std::unique_ptr<Group>> groups_;
};

// Chunks in a row that differ, from `first` on, of two tables of the same geometry; none: count is 0.
struct Difference {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};
Difference next_difference(const HashTable& one, const HashTable& other, std::uint64_t first);

// How many hashes the level has.
std::uint64_t level_size(const Geometry& geometry, unsigned level);

}  // namespace r3::sync
