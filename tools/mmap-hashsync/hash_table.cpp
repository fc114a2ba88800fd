// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hash_table.hpp"

#include <algorithm>
#include <bit>

namespace r3::sync {

bool acceptable(const Geometry& geometry) {
  return std::has_single_bit(geometry.chunk) && geometry.chunk >= kLeastChunk &&
         geometry.chunk <= kMostChunk && geometry.chunks() <= kMostChunks;
}

void HashTable::resize(const Geometry& geometry) {
  const bool regular = geometry.chunk == geometry_.chunk;
  const std::uint64_t kept = regular ? std::min(geometry.chunks(), geometry_.chunks()) : 0;
  geometry_ = geometry;
  groups_.resize(geometry.groups());
  // What lies behind the end, in a group that stays.
  for (std::uint64_t i = kept; i < std::min(geometry.groups() * kGroup, round_up(kept, kGroup)); ++i)
    set(i, {});
}

HashTable HashTable::clone() const {
  HashTable copy;
  copy.geometry_ = geometry_;
  for (const auto& group : groups_) copy.groups_.push_back(group ? std::make_unique<Group>(*group) : nullptr);
  return copy;
}

void HashTable::set(std::uint64_t index, const Hash& hash) {
  auto& group = groups_[index / kGroup];
  if (!group) {
    if (hash == Hash{}) return;
    group = std::make_unique<Group>();
  }
  (*group)[index % kGroup] = hash;
}

Hash HashTable::of_group(std::uint64_t group, const Hasher& hasher) const {
  const Group* const hashes = groups_[group].get();
  return hashes ? hasher.of_hashes(*hashes) : Hash{};
}

Hash HashTable::root(const Hasher& hasher) const {
  return hasher.of_hashes(level(1, 0, geometry_.groups(), hasher));
}

std::vector<Hash> HashTable::level(unsigned level, std::uint64_t first, std::uint64_t count,
                                   const Hasher& hasher) const {
  if (level == 2) return {root(hasher)};
  std::vector<Hash> found(count);
  for (std::uint64_t i = 0; i < count; ++i)
    found[i] = level == 0 ? at(first + i) : of_group(first + i, hasher);
  return found;
}

Difference next_difference(const HashTable& one, const HashTable& other, std::uint64_t first) {
  const auto chunks = one.geometry().chunks();
  const auto equal_group = [&](std::uint64_t group) {
    const auto *mine = one.group(group), *theirs = other.group(group);
    return mine && theirs ? *mine == *theirs : mine == theirs;
  };
  while (first < chunks && one.at(first) == other.at(first))
    first = first % kGroup == 0 && equal_group(first / kGroup) ? first + kGroup : first + 1;
  if (first >= chunks) return {};
  auto end = first + 1;
  while (end < chunks && one.at(end) != other.at(end)) ++end;
  return {first, end - first};
}

std::uint64_t level_size(const Geometry& geometry, unsigned level) {
  if (level == 0) return geometry.chunks();
  return level == 1 ? geometry.groups() : 1;
}

}  // namespace r3::sync
