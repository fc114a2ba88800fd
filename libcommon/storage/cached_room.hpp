// SPDX-License-Identifier: Apache-2.0
// How many chunks of a managed mount may be here at once, and which are given up for others: those of groups that
// were not used for longest, by second chance. Only what is clean and not in flight is given up, lest what the
// remote said before a change is taken for what it says after it. Any thread may call.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "libcommon/storage/cached_flights.hpp"
#include "libcommon/storage/cached_map.hpp"
#include "libcommon/storage/cached_store.hpp"

namespace r3 {

class ChunkRoom {
 public:
  // `capacity`: bytes; room for a group of chunks there is always.
  ChunkRoom(ChunkMap& map, CacheStore& store, const Flights& flights, std::uint64_t capacity);

  bool for_all() const { return most_ >= map_.chunks(); }
  // Whether there is room for `count` more chunks without giving others up.
  bool has(std::uint64_t count) const { return map_.present_count() + count <= most_; }
  // Gives up so many, if it can, with no lock held. Returns how many became absent.
  std::uint64_t make(std::uint64_t count);
  // The chunk, if it is clean, is no longer here; false if it is, or has to stay. With no lock held.
  bool forget(std::uint64_t chunk);
  // Chunks that were given up for others, so far.
  std::uint64_t given_up() const { return given_up_; }

  // keep() makes `count` chunks present, and is called if they fit: what several fetched at once gets the room
  // that there is once. False: they did not, or keep() did not want to.
  template <class Keep>
  bool fill(std::uint64_t count, Keep keep) {
    const auto coming = coming_.fetch_add(count) + count;
    const bool kept = has(coming) && keep();
    coming_.fetch_sub(count);
    return kept;
  }
  // Something in the group of the chunk was read or written.
  void used(std::uint64_t chunk) {
    auto& used = used_[chunk / ChunkMap::kGroup];
    if (!used.load(std::memory_order_relaxed)) used.store(true, std::memory_order_relaxed);
  }

 private:
  std::uint64_t drop_clean(const ChunkRun& group);
  bool drop_clean_run(const ChunkRun& run);  // with its group's lock held

  ChunkMap& map_;
  CacheStore& store_;
  const Flights& flights_;
  const std::uint64_t most_;              // chunks
  std::atomic<std::uint64_t> coming_{0};  // chunks that are being stored and not yet present
  std::vector<std::atomic<bool>> used_;   // groups that were read or written since the hand passed
  std::atomic<std::uint64_t> given_up_{0};
  std::mutex mutex_;
  std::uint64_t hand_ = 0;  // guarded by mutex_: the group that is looked at next
};

}  // namespace r3
