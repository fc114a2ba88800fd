// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_chunks.hpp"

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kAsides = 64 * MiB;
constexpr std::uint64_t kMostFetched = 16 * MiB;  // at once
constexpr std::chrono::milliseconds kLate{5};  // what a demand read waits for a background one, at most

// Memory for what is fetched, kept by each thread for its next time.
Bytes scratch(std::size_t size) {
  thread_local std::unique_ptr<std::byte[]> memory;
  thread_local std::size_t capacity = 0;
  if (size > capacity) {
    memory = std::make_unique_for_overwrite<std::byte[]>(size);
    capacity = size;
  }
  return {memory.get(), size};
}

}  // namespace

CachedChunks::CachedChunks(Backend& remote, CacheStore& store, std::uint64_t chunk,
                           std::uint64_t capacity, OnLocal told)
    : remote_(remote),
      store_(store),
      map_(remote.size(), chunk, store),
      asides_(chunk, kAsides),
      room_(map_, store, flights_, capacity),
      told_(std::move(told)) {
  store_.attach(map_);
  if (!remote_.read_only()) remote_.flush();
}

bool CachedChunks::read(Bytes into, std::uint64_t offset) {
  bool missed = false;
  while (!into.empty()) {
    auto done = read_here(into, offset);
    if (done == 0) {
      missed = true;
      done = fetch(into, offset);
    }
    into = into.subspan(done);
    offset += done;
  }
  return missed;
}

bool CachedChunks::try_read(Bytes into, std::uint64_t offset) {
  if (store_.error() != 0) return false;
  try {
    while (!into.empty()) {
      const auto done = read_present(into, offset, false);
      if (done == 0) return false;
      into = into.subspan(done);
      offset += done;
    }
  } catch (const std::system_error&) {
    return false;  // who may wait finds a way around it
  }
  return true;
}

std::size_t CachedChunks::read_here(Bytes into, std::uint64_t offset) {
  if (store_.error() == 0) try {
      return read_present(into, offset, true);
    } catch (const std::system_error& error) {
      cache_error_ = error.code().value();
    }
  return read_around(into, offset);
}

// A cache that cannot be read, or believed: what is clean the remote has as well; what is dirty is nowhere
// else. 0 if the first chunk is absent.
std::size_t CachedChunks::read_around(Bytes into, std::uint64_t offset) {
  const auto first = offset / map_.chunk();
  bool dirty = false;
  {
    const std::shared_lock lock(map_.lock_of(first));
    auto end = std::min(map_.group_end(first), map_.touched(offset, into.size()).end());
    end = map_.present.next_clear(first, end);
    if (end == first) return 0;
    dirty = map_.dirty.test(first);
    end = dirty ? map_.dirty.next_clear(first, end) : map_.dirty.next_set(first, end);
    into = into.first(std::min<std::uint64_t>(into.size(), end * map_.chunk() - offset));
    if (dirty) store_.read(into, offset);
  }
  if (!dirty) remote_.read_at(into, offset);
  return into.size();
}

// What is here from `offset` on, up to the end of its group; returns its length.
std::size_t CachedChunks::read_present(Bytes into, std::uint64_t offset, bool wait) {
  const auto first = offset / map_.chunk();
  std::shared_lock lock(map_.lock_of(first), std::defer_lock);
  if (wait) lock.lock();
  else if (!lock.try_lock()) return 0;
  const auto touched = map_.touched(offset, into.size());
  const auto end = map_.present.next_clear(first, std::min(map_.group_end(first), touched.end()));
  if (end == first) return 0;
  const auto length = std::min<std::uint64_t>(into.size(), end * map_.chunk() - offset);
  room_.used(first);
  if (!wait) return store_.try_read(into.first(length), offset) ? length : 0;
  store_.read(into.first(length), offset);
  return length;
}

// Asks the remote for what is absent at the start of the range, and for the rest of the range that is absent
// with it. Returns how much of `into` is right then: 0 if it is worth another look at what is here.
std::size_t CachedChunks::fetch(Bytes into, std::uint64_t offset) {
  const auto touched = map_.touched(offset, std::min<std::uint64_t>(into.size(), kMostFetched));
  auto run = map_.next_absent(touched.first, touched.end(), touched.count);
  if (run.count == 0 || run.first != touched.first) return 0;
  const auto patience = Flights::Clock::now() + kLate + std::chrono::nanoseconds(round_trip_);
  const auto claim = flights_.claim_or_wait(run, patience);
  if (!claim.claimed) return 0;
  struct Landing {
    Flights& flights;
    Flights::Ticket ticket;
    ~Landing() { flights.end(ticket); }
  } const landing{flights_, claim.ticket};
  run = claim.ticket->run;
  {
    const std::shared_lock lock(map_.lock_of(run.first));
    if (map_.present.test(run.first)) return 0;
  }
  const auto start = map_.offset_of(run.first);
  const auto length = map_.length_of(run);
  const bool straight = start == offset && length <= into.size();
  const Bytes bytes = straight ? into.first(length) : scratch(length);
  remote_.read_at(bytes, start);
  demanded_ += length;
  const auto absent = fill(run, bytes);
  if (absent == 0) return 0;
  const auto right = std::min<std::uint64_t>(
      map_.length_of({run.first, absent}) - (offset - start), into.size());
  if (!straight) std::memcpy(into.data(), bytes.data() + (offset - start), right);
  return right;
}

// A chunk in flight is never given up (drop_clean), so one that is absent now was absent all the time: no
// write can have been in between, and what the remote said is what it holds.
std::uint64_t CachedChunks::fill(const ChunkRun& run, ConstBytes bytes) {
  std::uint64_t leading = 0;
  bool broken = false;
  bool room = room_.has(run.count) || room_.make(run.count) > 0;
  for (auto at = run.first; at < run.end();) {
    const auto stop = std::min(map_.group_end(at), run.end());
    const std::lock_guard lock(map_.lock_of(at));
    while (at < stop) {
      const auto first = map_.present.next_clear(at, stop);
      if (first > at) broken = true;
      if (first == stop) break;
      at = map_.present.next_set(first, stop);
      const ChunkRun absent{first, at - first};
      if (!broken) leading += absent.count;
      const auto skip = map_.offset_of(first) - map_.offset_of(run.first);
      const auto part = bytes.subspan(skip, map_.length_of(absent));
      room = room && room_.fill(absent.count, [&] { return keep(absent, part); });
    }
    at = stop;
  }
  if (told_ && leading > 0 && room) told_(map_.offset_of(run.first), map_.length_of({run.first, leading}));
  return leading;
}

// A cache that cannot take any more is no reason for a read to fail.
bool CachedChunks::keep(const ChunkRun& run, ConstBytes bytes) {
  try {
    store_.write(bytes, map_.offset_of(run.first));
  } catch (const std::system_error& error) {
    if (error.code().value() != ENOSPC) cache_error_ = error.code().value();
    return false;
  }
  map_.add_present(run);
  return true;
}

void CachedChunks::change(CachedChange change) {
  while (change.length > 0) {
    const auto group_end = map_.group_end(change.offset / map_.chunk()) * map_.chunk();
    const auto part = std::min(change.length, group_end - change.offset);
    const CachedChange now{change.data.empty() ? ConstBytes{} : change.data.first(part),
                           change.offset, part};
    for (;;) {
      const Outcome outcome = change_if_kept(now);
      if (outcome.needs == Needs::nothing) break;
      do_what_it_needs(outcome, map_.touched(now.offset, now.length));
    }
    change = {change.data.empty() ? ConstBytes{} : change.data.subspan(part), change.offset + part,
              change.length - part};
  }
}

// A disk that is full is a cache that is full, as long as something can be given up for it.
CachedChunks::Outcome CachedChunks::change_if_kept(const CachedChange& part) {
  try {
    return change_group(part, true);
  } catch (const std::system_error& error) {
    if (error.code().value() != ENOSPC) throw;
    if (map_.dirty_count() == 0 && room_.make(ChunkMap::kGroup) == 0) throw;
    return {Needs::room, 0, ChunkMap::kGroup};
  }
}

bool CachedChunks::try_change(CachedChange change) {
  while (change.length > 0) {
    const auto group_end = map_.group_end(change.offset / map_.chunk()) * map_.chunk();
    const auto part = std::min(change.length, group_end - change.offset);
    try {
      if (change_group({change.data.first(part), change.offset, part}, false).needs != Needs::nothing)
        return false;
    } catch (const std::system_error&) {
      return false;  // what it is, the call that may wait finds out
    }
    change = {change.data.subspan(part), change.offset + part, change.length - part};
  }
  return true;
}

CachedChunks::Outcome CachedChunks::change_group(const CachedChange& part, bool wait) {
  const auto run = map_.touched(part.offset, part.length);
  const FairLock::Shared changing(gate_);
  std::unique_lock lock(map_.lock_of(run.first), std::defer_lock);
  if (wait) lock.lock();
  else if (!lock.try_lock()) return {Needs::lock};
  const Outcome outcome = check_change(run, map_.filled(part.offset, part.length));
  if (outcome.needs == Needs::nothing) store_change(part, run);
  return outcome;
}

CachedChunks::Outcome CachedChunks::check_change(const ChunkRun& run, const ChunkRun& filled) {
  // Room for all of it first, lest what is fetched for it is given up again.
  const auto absent = run.count - map_.present.count(run.first, run.count);
  if (absent > 0 && !room_.has(absent)) return {Needs::room, 0, absent};
  // A chunk that is written in part has to be here.
  const auto last = run.end() - 1;
  if (run.first < filled.first || filled.count == 0)
    if (!map_.present.test(run.first)) return {Needs::chunk, run.first};
  if (last >= filled.end() && !map_.present.test(last)) return {Needs::chunk, last};
  // What is dirty already may be overwritten: so is what is absent.
  if (absent < run.count && map_.dirty.count(run.first, run.count) + absent < run.count &&
      !store_.may_overwrite(run.first, run.count))
    return {Needs::permission};
  if (!save_asides(run)) return {Needs::aside};
  return {};
}

// Each chunk of an epoch that is not sent yet is put aside before it is changed.
bool CachedChunks::save_asides(const ChunkRun& run) {
  for (auto chunk = run.first; (chunk = map_.unsent.next_set(chunk, run.end())) < run.end(); ++chunk) {
    if (map_.fresh.test(chunk)) continue;  // has been put aside
    const Bytes copy = asides_.add(chunk, map_.length_of({chunk, 1}));
    if (copy.empty()) return false;
    store_.read(copy, map_.offset_of(chunk));
    map_.add_fresh({chunk, 1});
  }
  return true;
}

// Marked as dirty first, then changed, then present: whatever a process that is killed leaves behind, no
// change is left unmarked (dirty without present says nothing).
void CachedChunks::store_change(const CachedChange& part, const ChunkRun& run) {
  map_.add_fresh(run);
  try {
    if (part.data.empty()) store_.zero(part.offset, part.length);
    else store_.write(part.data, part.offset);
  } catch (...) {
    map_.forget_absent(run);
    throw;
  }
  map_.add_present(run);
  room_.used(run.first);
}

void CachedChunks::do_what_it_needs(const Outcome& outcome, const ChunkRun& run) {
  switch (outcome.needs) {
    case Needs::nothing:
    case Needs::lock: return;
    case Needs::chunk: return fetch_chunk(outcome.chunk);
    case Needs::permission: return store_.allow_overwrite(run.first, run.count);
    case Needs::room: return make_room(outcome.count);
    case Needs::aside: return wait_for_asides();
  }
}

void CachedChunks::fetch_chunk(std::uint64_t chunk) {
  if (!room_.has(1)) make_room(1);
  std::vector<std::byte> bytes(map_.length_of({chunk, 1}));
  read(bytes, map_.offset_of(chunk));
  const std::shared_lock lock(map_.lock_of(chunk));
  // Given up again at once, or the store is full: with luck the former.
  if (!map_.present.test(chunk) && !room_.has(1)) return;
  if (!map_.present.test(chunk)) fail(ENOSPC, "the cache");
}

}  // namespace r3
