// SPDX-License-Identifier: Apache-2.0
// One look at a source's files for all destinations that it serves: what one of their sessions hashed, the
// others take, as long as it is news to them. Any thread may call.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "tools/mmap-hashsync/file_view.hpp"
#include "tools/mmap-hashsync/hash_table.hpp"

namespace r3::sync {

class SharedLooks {
 public:
  using Clock = std::chrono::steady_clock;
  struct Look {
    Clock::time_point begun;  // everything written before this is seen
    Identity identity;        // of the file
    HashTable table;
  };

  // The newest look at the file of that path, if it began after `since` and is one at this very file in this
  // size; or else `make` has to look, while others who want the same wait.
  std::shared_ptr<const Look> take(const std::string& path, const Identity& identity, const Geometry& geometry,
                                   Clock::time_point since, const std::function<HashTable()>& make);

 private:
  struct Place {
    std::mutex mutex;
    std::shared_ptr<const Look> look;  // guarded by mutex
  };
  std::mutex mutex_;
  std::map<std::string, Place> places_;  // guarded by mutex_; places stay
};

}  // namespace r3::sync
