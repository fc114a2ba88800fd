// SPDX-License-Identifier: Apache-2.0
// The chunks of a managed mount: reads and writes of what is here, fetching of what is not, and the epochs
// in which changes go back. The rules that keep every byte right are here, each beside the lock that makes
// it hold; who fetches ahead (cached_puller.hpp) and who pushes (cached_pusher.hpp) only call.
//
// An epoch is sealed at one moment: what it pushes is the region as it was then, so that after each flush
// of the remote it holds everything that was written up to one moment, and nothing that came later.
//
// Locks, in the order in which they are taken: gate_, ChunkRoom's, the lock of one group of chunks (never two),
// then those inside of Flights, Asides and EpochNews. Waiting for the remote or a disk to sync: with none of them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>

#include "libcommon/base/fair_lock.hpp"
#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/cached_asides.hpp"
#include "libcommon/storage/cached_flights.hpp"
#include "libcommon/storage/cached_map.hpp"
#include "libcommon/storage/cached_news.hpp"
#include "libcommon/storage/cached_room.hpp"
#include "libcommon/storage/cached_store.hpp"

namespace r3 {

// Bytes to be written at an offset; zeroes if `data` is empty.
struct CachedChange {
  ConstBytes data;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class CachedChunks {
 public:
  // Called for each run of chunks that has come from the remote, in bytes: any thread; must not wait.
  using OnLocal = std::function<void(std::uint64_t offset, std::uint64_t length)>;

  // Flushes the remote first: what somebody left there unflushed may be gone tomorrow, and nothing that is
  // fetched may. `capacity`: bytes that may be here at once, at least a group of chunks (the region's size:
  // all).
  CachedChunks(Backend& remote, CacheStore& store, std::uint64_t chunk, std::uint64_t capacity,
               OnLocal told = {});

  ChunkMap& map() { return map_; }
  const ChunkMap& map() const { return map_; }
  Flights& flights() { return flights_; }
  const Flights& flights() const { return flights_; }
  Backend& remote() { return remote_; }
  CacheStore& store() { return store_; }
  ChunkRoom& room() { return room_; }
  const ChunkRoom& room() const { return room_; }
  bool holds_all() const { return room_.for_all(); }
  bool has_room(std::uint64_t count) const { return room_.has(count); }

  // The whole range; fetches what is absent, and what is clean and cannot be read here. True if it had to.
  bool read(Bytes into, std::uint64_t offset);
  bool try_read(Bytes into, std::uint64_t offset);
  void change(CachedChange change);
  bool try_change(CachedChange change);

  // Takes what the remote said about a run in flight: absent chunks are present from then on. Returns how
  // many chunks at the start of the run were absent, so that the bytes are right for them.
  std::uint64_t fill(const ChunkRun& run, ConstBytes bytes);

  // The run, present and clean, has changed on the remote: it is absent on return, and whatever the remote
  // says from then on is taken for what it holds. Waits for what is in flight.
  void invalidate(const ChunkRun& run);

  // Epochs, for the pusher alone: seal, take all, close, flush the remote, end.
  //
  // take_unsent: the first unsent run at or after `from`, as long as fits: what it held at the seal is in
  // `into`, and it is no longer unsent. Count 0 if there is none.
  void seal();
  ChunkRun take_unsent(std::uint64_t from, Bytes into);
  // All of it was sent, and nothing joins it any more: true. False: there is more to send.
  bool close_epoch();
  void end_epoch(bool durable);
  // A write that finds no room asks for a push, and waits for the end of an epoch.
  void on_full(std::function<void()> want_push) { want_push_ = std::move(want_push); }
  EpochNews& news() { return news_; }

  // Nobody waits any more: ESHUTDOWN.
  void abandon() noexcept { news_.abandon(); }
  // What the cache last failed to give or to take, an errno; 0: nothing so far.
  int cache_error() const { return store_.error() != 0 ? store_.error() : cache_error_.load(); }
  // For who compares with the remote: the bytes of a run of clean chunks (ChunkMap::next_clean) as they are here;
  // false if it no longer is clean, or cannot be read.
  bool read_clean(const ChunkRun& run, Bytes into);
  // How long a read from the remote takes that does not wait behind others.
  void set_round_trip(std::chrono::nanoseconds time) { round_trip_ = time.count(); }
  // Bytes that have been fetched because somebody waited for them.
  std::uint64_t demanded() const { return demanded_; }

 private:
  enum class Needs { nothing, chunk, permission, room, aside, lock };
  struct Outcome {
    Needs needs = Needs::nothing;
    std::uint64_t chunk = 0;  // that has to be here first
    std::uint64_t count = 0;  // of chunks that need room
  };

  std::size_t read_present(Bytes into, std::uint64_t offset, bool wait);
  std::size_t read_here(Bytes into, std::uint64_t offset);
  std::size_t read_around(Bytes into, std::uint64_t offset);
  std::size_t fetch(Bytes into, std::uint64_t offset);
  Outcome change_group(const CachedChange& part, bool wait);
  Outcome change_if_kept(const CachedChange& part);
  Outcome check_change(const ChunkRun& run, const ChunkRun& filled);
  void store_change(const CachedChange& part, const ChunkRun& run);
  void do_what_it_needs(const Outcome& outcome, const ChunkRun& run);
  bool save_asides(const ChunkRun& run);
  bool keep(const ChunkRun& run, ConstBytes bytes);
  void fetch_chunk(std::uint64_t chunk);
  void make_room(std::uint64_t count);
  void wait_for_asides();
  void seal_all();

  Backend& remote_;
  CacheStore& store_;
  ChunkMap map_;
  Flights flights_;
  Asides asides_;
  ChunkRoom room_;
  EpochNews news_;
  std::function<void()> want_push_;
  const OnLocal told_;
  std::atomic<std::int64_t> round_trip_{0};
  std::atomic<std::uint64_t> demanded_{0};
  std::atomic<int> cache_error_{0};

  FairLock gate_;  // shared by changes; who seals an epoch has it alone
  bool sending_ = false;  // guarded by gate_: an epoch is sealed and not closed
};

}  // namespace r3
