// SPDX-License-Identifier: Apache-2.0
// Whether a copy of parts of a region is still what the region has: by hash with an r3 server that can, byte
// for byte with anything else. Knows regions, not where the copy is.
#pragma once

#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/storage/cached.hpp"

namespace r3 {

// Which chunks of `bytes`, at `offset` of the region, are not what it has.
std::vector<bool> differing(Backend& region, ConstBytes bytes, std::uint64_t offset, std::uint64_t chunk);

// Whether that costs less than to fetch all of it.
bool can_compare(Backend& region, std::uint64_t chunk);

struct Verified {
  std::uint64_t compared = 0;   // bytes
  std::uint64_t differing = 0;  // chunks, which have been forgotten and will be fetched again
  bool whole = true;            // or stopped before the end
};

// All that is here and clean. Changes meanwhile, by this process, are no difference.
Verified verify(Cached& cached, Backend& region, const Stop& stop);

}  // namespace r3
