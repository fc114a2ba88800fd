// SPDX-License-Identifier: Apache-2.0
// What a managed mount is fetching from the remote right now: ranges of whole chunks. Who needs a chunk that
// is on its way already waits for it instead of asking twice; only a read that the application waits for
// asks again, alone, for what is far back in the queue of a full link. Knows ranges and times, not bytes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>

#include "libcommon/storage/cached_map.hpp"

namespace r3 {

class Flights {
 public:
  using Clock = std::chrono::steady_clock;

  struct Flight {
    ChunkRun run;
    bool background = false;
    Clock::time_point expected{};  // when a background one should be here
  };
  using Ticket = std::list<Flight>::iterator;

  // For a read that waits. Either `claimed`: the start of `run`, up to what is in flight already, is the
  // caller's to fetch, and to end() in any case; or it has waited until some of the run was no longer in
  // flight. A background flight that is expected later than `patience` does not count.
  struct Claim {
    bool claimed = false;
    Ticket ticket{};
  };
  Claim claim_or_wait(const ChunkRun& run, Clock::time_point patience);
  // For the puller: the first part of `run` that is not in flight becomes the caller's; false if all is.
  bool claim_background(const ChunkRun& run, Clock::time_point expected, Ticket& ticket);
  void end(Ticket ticket) noexcept;

  // Whether any chunk of the run is in flight.
  bool overlaps(const ChunkRun& run) const;
  // In chunks.
  std::uint64_t count() const;

 private:
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  std::list<Flight> flights_;  // guarded by mutex_; few
};

}  // namespace r3
