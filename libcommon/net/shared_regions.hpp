// SPDX-License-Identifier: Apache-2.0
// The regions that a server shares: opened one after the other, kept as long as it lives, and brought to an end:
// what was changed is flushed, and a region that is away is waited for only where that is due.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libcommon/net/region.hpp"
#include "libcommon/storage/flush_due.hpp"
#include "libcommon/storage/open_files.hpp"

namespace r3 {

class SharedRegions {
 public:
  // Opens one more; the backend lives as long as this. Not while other threads are in here. Throws what
  // open_region() throws.
  Backend& open(const Region& region, const RegionOptions& options);

  // The sum of all.
  std::uint64_t size() const;

  // Flushes, all at the same time, those that were changed since their last flush. When all have come to an end
  // it throws the first error. A region that is away is waited for, until abandon().
  void flush_changed();

  // Calls that wait for a region that does not answer fail from now on. Any thread.
  void abandon() noexcept;

 private:
  struct Shared {
    std::string name;
    std::unique_ptr<Backend> region;
    FlushDue* changed;  // null: it is lost with this process, whatever is done
  };
  std::shared_ptr<OpenFiles> open_files_;  // of all directories
  std::vector<Shared> all_;
};

}  // namespace r3
