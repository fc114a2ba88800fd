// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_room.hpp"

#include <algorithm>

namespace r3 {

namespace {

constexpr std::uint64_t kDropGroups = 16;  // that the store is asked about at once

}  // namespace

ChunkRoom::ChunkRoom(ChunkMap& map, CacheStore& store, const Flights& flights, std::uint64_t capacity)
    : map_(map),
      store_(store),
      flights_(flights),
      most_(std::max(capacity / map.chunk() + (capacity >= map.size() ? 1 : 0), ChunkMap::kGroup)),
      used_(map.groups()) {}

// Second chance: groups that were not used since the hand passed last.
std::uint64_t ChunkRoom::make(std::uint64_t count) {
  const std::lock_guard lock(mutex_);
  std::uint64_t freed = 0;
  for (std::uint64_t looked = 0; looked < 2 * map_.groups() && freed < count; ++looked) {
    if (hand_ % kDropGroups == 0) {
      const auto first = hand_ * ChunkMap::kGroup;
      const auto all = std::min(kDropGroups * ChunkMap::kGroup, map_.chunks() - first);
      store_.prepare_drop(first, all);
    }
    const auto group = hand_;
    hand_ = (hand_ + 1) % map_.groups();
    if (!used_[group].exchange(false)) freed += drop_clean(map_.group(group));
  }
  given_up_ += freed;
  return freed;
}

bool ChunkRoom::forget(std::uint64_t chunk) {
  const std::lock_guard alone(mutex_);
  const ChunkRun run{chunk, 1};
  store_.prepare_drop(chunk / ChunkMap::kGroup * ChunkMap::kGroup,
                      map_.group(chunk / ChunkMap::kGroup).count);
  const std::lock_guard lock(map_.lock_of(chunk));
  return drop_clean_run(run);
}

std::uint64_t ChunkRoom::drop_clean(const ChunkRun& group) {
  const std::lock_guard lock(map_.lock_of(group.first));
  std::uint64_t freed = 0;
  for (auto at = group.first; (at = map_.present.next_set(at, group.end())) < group.end();) {
    const auto end = std::min(map_.present.next_clear(at, group.end()),
                              map_.dirty.next_set(at, group.end()));
    const ChunkRun run{at, end - at};
    at = std::max(end, at + 1);
    if (run.count > 0 && drop_clean_run(run)) freed += run.count;
  }
  return freed;
}

bool ChunkRoom::drop_clean_run(const ChunkRun& run) {
  if (map_.present.count(run.first, run.count) < run.count || map_.dirty.count(run.first, run.count) > 0 ||
      flights_.overlaps(run) || !store_.may_drop(run.first, run.count))
    return false;
  map_.drop_present(run);
  store_.drop(map_.offset_of(run.first), map_.length_of(run));
  return true;
}

}  // namespace r3
