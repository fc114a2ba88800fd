// SPDX-License-Identifier: Apache-2.0
// The part of CachedChunks that seals, takes and ends epochs, and that makes room.
#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/cached_chunks.hpp"

namespace r3 {

namespace {

constexpr std::chrono::milliseconds kLook{100};     // how often who waits for room looks itself
constexpr std::chrono::milliseconds kStandstill{1000};
constexpr std::uint64_t kDropGroups = 16;  // that the store is asked about at once

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
  const std::lock_guard lock(epoch_mutex_);
  ++taken_;
  epoch_ended_.notify_all();
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
  const std::lock_guard lock(epoch_mutex_);
  ++epochs_;
  epoch_ended_.notify_all();
}

void CachedChunks::set_push_error(int error) {
  const std::lock_guard lock(epoch_mutex_);
  push_error_ = error;
  epoch_ended_.notify_all();
}

void CachedChunks::abandon() noexcept {
  const std::lock_guard lock(epoch_mutex_);
  abandoned_ = true;
  epoch_ended_.notify_all();
}

void CachedChunks::throw_if_abandoned() const {
  if (abandoned_) fail(ESHUTDOWN, "the mount is ending");
}

// What is put aside is bounded: a write waits until some of it was sent. When nothing moves for a while
// (the link is down), everything that was written meanwhile joins the epoch instead: it is then the region
// as it is now.
void CachedChunks::wait_for_asides() {
  {
    std::unique_lock lock(epoch_mutex_);
    const auto taken = taken_;
    epoch_ended_.wait_for(lock, kStandstill, [&] { return taken != taken_ || abandoned_; });
    throw_if_abandoned();
    if (taken != taken_) return;
  }
  const FairLock::Alone alone(gate_);
  if (!sending_) return;
  seal_all();
  asides_.clear();
}

void CachedChunks::make_room(std::uint64_t count) {
  if (evict(count) > 0) return;
  std::unique_lock lock(epoch_mutex_);
  throw_if_abandoned();
  if (push_error_ != 0) fail(push_error_, "the cache is full, and nothing can be pushed");
  const auto epochs = epochs_;
  lock.unlock();
  if (want_push_) want_push_();
  lock.lock();
  epoch_ended_.wait_for(lock, kLook, [&] { return epochs != epochs_ || abandoned_; });
  throw_if_abandoned();
}

// Second chance: groups that were not used since the hand passed last. Returns how many chunks became
// absent.
std::uint64_t CachedChunks::evict(std::uint64_t count) {
  const std::lock_guard lock(evict_mutex_);
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
  evicted_ += freed;
  return freed;
}

ChunkRun CachedChunks::next_clean(std::uint64_t from) const {
  if (from >= map_.chunks()) return {from, 0};
  const std::shared_lock lock(map_.lock_of(from));
  const auto stop = map_.group_end(from);
  for (auto at = from; (at = map_.present.next_set(at, stop)) < stop;) {
    if (map_.dirty.test(at)) {
      ++at;
      continue;
    }
    return {at, std::min(map_.present.next_clear(at, stop), map_.dirty.next_set(at, stop)) - at};
  }
  return {stop, 0};
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

bool CachedChunks::forget(std::uint64_t chunk) {
  const std::lock_guard alone(evict_mutex_);
  const ChunkRun run{chunk, 1};
  store_.prepare_drop(chunk / ChunkMap::kGroup * ChunkMap::kGroup,
                      map_.group(chunk / ChunkMap::kGroup).count);
  const std::lock_guard lock(map_.lock_of(chunk));
  return drop_clean_run(run);
}

// What is in flight stays, lest what the remote said before a change is taken for what it says after it.
std::uint64_t CachedChunks::drop_clean(const ChunkRun& group) {
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

bool CachedChunks::drop_clean_run(const ChunkRun& run) {
  if (map_.present.count(run.first, run.count) < run.count || map_.dirty.count(run.first, run.count) > 0 ||
      flights_.overlaps(run) || !store_.may_drop(run.first, run.count))
    return false;
  map_.drop_present(run);
  store_.drop(map_.offset_of(run.first), map_.length_of(run));
  return true;
}

}  // namespace r3
