// SPDX-License-Identifier: Apache-2.0
// Which chunks of a managed mount are where. For each chunk one bit of each of these:
//
//   present  the cache has its bytes
//   dirty    it is not durable on the remote as it is here; implies present; each dirty chunk is also
//   fresh    changed since the last seal, or
//   sealed   part of the epoch that is being pushed, or both
//   unsent   sealed, and what it held at the seal has not been taken yet to be sent
//
// Groups of 256 chunks share a lock, and groups share the locks by number. A group's bits may be looked at
// with its lock shared, and changed with it alone. Knows nothing of bytes. (What is in flight is no bit:
// cached_flights.hpp.)
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <shared_mutex>

#include "libcommon/base/bitmap.hpp"
#include "libcommon/storage/cached_store.hpp"

namespace r3 {

// Adjoining chunks.
struct ChunkRun {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t end() const { return first + count; }
  friend bool operator==(const ChunkRun&, const ChunkRun&) = default;
};

class ChunkMap {
 public:
  static constexpr std::uint64_t kGroup = 256;

  // `chunk`: a power of two. Counts what the store's bitmaps say already.
  ChunkMap(std::uint64_t size, std::uint64_t chunk, CacheStore& store);

  std::uint64_t size() const { return size_; }
  std::uint64_t chunk() const { return chunk_; }
  std::uint64_t chunks() const { return chunks_; }
  std::uint64_t groups() const { return (chunks_ + kGroup - 1) / kGroup; }

  // The chunks that a range of bytes touches, and those that it fills; the region's last chunk may be short.
  ChunkRun touched(std::uint64_t offset, std::uint64_t length) const;
  ChunkRun filled(std::uint64_t offset, std::uint64_t length) const;
  std::uint64_t offset_of(std::uint64_t chunk) const { return chunk * chunk_; }
  std::uint64_t length_of(const ChunkRun& run) const;
  // The end of the group that `chunk` is in, as a chunk number.
  std::uint64_t group_end(std::uint64_t chunk) const;
  ChunkRun group(std::uint64_t number) const;
  std::shared_mutex& lock_of(std::uint64_t chunk) const { return locks_[chunk / kGroup % kLocks]; }

  // With the lock of the run's group held alone (sealing: with no change under way anywhere); a run lies
  // within one group.
  void add_present(const ChunkRun& run) { present_count_ += present.set(run.first, run.count); }
  void add_fresh(const ChunkRun& run) {
    dirty_count_ += dirty.set(run.first, run.count);
    fresh_count_ += fresh.set(run.first, run.count);
  }
  void drop_present(const ChunkRun& run) { present_count_ -= present.clear(run.first, run.count); }
  // Of chunks that are not present, which a failed change has marked.
  void forget_absent(const ChunkRun& run);
  // What is fresh becomes sealed and unsent.
  void seal_group(std::uint64_t number);
  // The epoch is over. `durable`: what is not fresh again is clean; else all that was sealed is fresh.
  void end_group(std::uint64_t number, bool durable);

  // In chunks, of the whole region. Hints: they change while they are read.
  std::uint64_t present_count() const { return present_count_; }
  std::uint64_t dirty_count() const { return dirty_count_; }
  std::uint64_t fresh_count() const { return fresh_count_; }

  // The first run of absent chunks in [from, end), joining those that are at most `gap` chunks apart; takes
  // the locks it needs. A hint: it may have changed on return. Empty (count 0) if there is none.
  ChunkRun next_absent(std::uint64_t from, std::uint64_t end, std::uint64_t gap) const;
  // Likewise: the first run at or after `from`, in its group, that is here and clean.
  ChunkRun next_clean(std::uint64_t from) const;
  // Whether all chunks that the range touches are here.
  bool all_present(std::uint64_t offset, std::uint64_t length) const;

  Bitmap present, dirty, fresh, sealed, unsent;

 private:
  static constexpr std::size_t kLocks = 32;  // ThreadSanitizer takes 64 at once, in all

  const std::uint64_t size_;
  const std::uint64_t chunk_;
  const std::uint64_t chunks_;
  std::atomic<std::uint64_t> present_count_{0}, dirty_count_{0}, fresh_count_{0};
  mutable std::array<std::shared_mutex, kLocks> locks_;
};

}  // namespace r3
