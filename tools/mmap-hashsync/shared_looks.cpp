// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/shared_looks.hpp"

namespace r3::sync {

std::shared_ptr<const SharedLooks::Look> SharedLooks::take(const std::string& path, const Identity& identity,
                                                           const Geometry& geometry, Clock::time_point since,
                                                           const std::function<HashTable()>& make) {
  std::unique_lock all(mutex_);
  Place& place = places_[path];
  all.unlock();
  std::lock_guard lock(place.mutex);
  if (place.look && place.look->begun > since && place.look->identity == identity &&
      place.look->table.geometry() == geometry)
    return place.look;
  const auto begun = Clock::now();
  place.look = std::make_shared<const Look>(begun, identity, make());
  return place.look;
}

}  // namespace r3::sync
