// SPDX-License-Identifier: Apache-2.0
// The part of CachedChunks that seals, takes and ends epochs, and that waits for them.
#include <algorithm>

#include "libcommon/storage/cached_chunks.hpp"

namespace r3 {

namespace {

constexpr std::chrono::milliseconds kLook{100};     // how often who waits for room looks itself
constexpr std::chrono::milliseconds kStandstill{1000};

}  // namespace

void CachedChunks::seal() {
  const FairLock::Alone alone(gate_);
  seal_all();
  sending_ = true;
}

// With gate_ alone: nobody changes these bits.
void CachedChunks::seal_all() {
  if (map_.fresh_count() == 0) return;
  for (std::uint64_t group = 0; group < map_.groups(); ++group) map_.seal_group(group);
}

ChunkRun CachedChunks::take_unsent(std::uint64_t from, Bytes into) {
  const FairLock::Shared changing(gate_);
  const auto from_chunk = map_.unsent.next_set(from, map_.chunks());
  if (from_chunk == map_.chunks()) return {from_chunk, 0};
  const auto most = std::max<std::uint64_t>(into.size() / map_.chunk(), 1);
  ChunkRun run{from_chunk, 0};
  while (run.count < most && run.end() < map_.chunks()) {
    const auto stop = std::min(map_.group_end(run.end()), run.first + most);
    const std::lock_guard lock(map_.lock_of(run.end()));
    const auto end = map_.unsent.next_clear(run.end(), stop);
    const ChunkRun part{run.end(), end - run.end()};
    const auto skip = map_.offset_of(part.first) - map_.offset_of(run.first);
    const Bytes place = into.subspan(skip, part.count == 0 ? 0 : map_.length_of(part));
    store_.read(place, map_.offset_of(part.first));
    asides_.take(part.first, place);
    map_.unsent.clear(part.first, part.count);
    run.count += part.count;
    if (end < stop) break;
  }
  news_.taken();
  return run;
}

bool CachedChunks::close_epoch() {
  const FairLock::Alone alone(gate_);
  if (map_.unsent.next_set(0, map_.chunks()) < map_.chunks()) return false;
  sending_ = false;
  return true;
}

void CachedChunks::end_epoch(bool durable) {
  {
    const FairLock::Shared changing(gate_);
    for (std::uint64_t group = 0; group < map_.groups(); ++group) {
      const auto [first, count] = map_.group(group);
      if (map_.sealed.next_set(first, first + count) == first + count) continue;
      const std::lock_guard lock(map_.lock_of(first));
      map_.end_group(group, durable);
    }
    asides_.clear();
  }
  news_.ended();
}

// What is put aside is bounded: a write waits until some of it was sent. When nothing moves for a while
// (the link is down), everything that was written meanwhile joins the epoch instead: it is then the region
// as it is now.
void CachedChunks::wait_for_asides() {
  if (news_.wait_for_taken(kStandstill)) return;
  const FairLock::Alone alone(gate_);
  if (!sending_) return;
  seal_all();
  asides_.clear();
}

void CachedChunks::make_room(std::uint64_t count) {
  if (room_.make(count) > 0) return;
  const auto ended = news_.epochs();
  if (want_push_) want_push_();
  news_.wait_for_end(ended, kLook);
}

bool CachedChunks::read_clean(const ChunkRun& run, Bytes into) {
  const std::shared_lock lock(map_.lock_of(run.first));
  if (map_.present.count(run.first, run.count) < run.count || map_.dirty.count(run.first, run.count) > 0)
    return false;
  try {
    store_.read(into, map_.offset_of(run.first));
  } catch (const std::system_error& error) {
    cache_error_ = error.code().value();
    return false;
  }
  return true;
}

}  // namespace r3
