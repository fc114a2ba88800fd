// SPDX-License-Identifier: Apache-2.0
// What a managed mount forgets because it has changed on the remote.
#include "libcommon/storage/cached_chunks.hpp"

namespace r3 {

// With the run claimed, nothing that was asked for before is on its way any more (tests/model/tracking.pml,
// NO_WAIT_FLIGHTS).
void CachedChunks::invalidate(const ChunkRun& run) {
  for (ChunkRun left = run; left.count > 0;) {
    const auto claim = flights_.claim_or_wait(left, Flights::Clock::time_point::max());
    if (!claim.claimed) continue;
    const ChunkRun mine = claim.ticket->run;
    for (auto at = mine.first; at < mine.end();) {
      const auto end = std::min(map_.group_end(at), mine.end());
      const std::lock_guard lock(map_.lock_of(at));
      map_.drop_present({at, end - at});
      map_.forget_absent({at, end - at});
      at = end;
    }
    flights_.end(claim.ticket);
    left.first = mine.end();
    left.count = run.end() - left.first;
  }
}

}  // namespace r3
