// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_flights.hpp"

#include <algorithm>

namespace r3 {

namespace {

bool meets(const ChunkRun& a, const ChunkRun& b) {
  return a.count > 0 && b.count > 0 && a.first < b.end() && b.first < a.end();
}

}  // namespace

Flights::Claim Flights::claim_or_wait(const ChunkRun& run, Clock::time_point patience) {
  std::unique_lock lock(mutex_);
  ChunkRun free = run;
  for (const Flight& flight : flights_) {
    if (!meets(flight.run, free)) continue;
    if (flight.background && flight.expected > patience) continue;
    if (flight.run.first <= free.first) {
      ended_.wait(lock);  // some flight ended: the caller looks again
      return {};
    }
    free.count = flight.run.first - free.first;
  }
  return {true, flights_.insert(flights_.end(), {free, false, {}})};
}

bool Flights::claim_background(const ChunkRun& run, Clock::time_point expected, Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  ChunkRun free = run;
  // Past what is in flight at the start, then up to the next that is.
  for (bool moved = true; moved && free.count > 0;) {
    moved = false;
    for (const Flight& flight : flights_) {
      if (free.count == 0 || !meets(flight.run, free) || flight.run.first > free.first) continue;
      const auto end = free.end();
      free.first = std::min(flight.run.end(), end);
      free.count = end - free.first;
      moved = true;
    }
  }
  if (free.count == 0) return false;
  for (const Flight& flight : flights_)
    if (meets(flight.run, free)) free.count = flight.run.first - free.first;
  ticket = flights_.insert(flights_.end(), {free, true, expected});
  return true;
}

void Flights::end(Ticket ticket) noexcept {
  const std::lock_guard lock(mutex_);
  flights_.erase(ticket);
  ended_.notify_all();
}

bool Flights::overlaps(const ChunkRun& run) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(flights_.begin(), flights_.end(),
                     [&](const Flight& flight) { return meets(flight.run, run); });
}

std::uint64_t Flights::count() const {
  const std::lock_guard lock(mutex_);
  std::uint64_t chunks = 0;
  for (const Flight& flight : flights_) chunks += flight.run.count;
  return chunks;
}

}  // namespace r3
