// SPDX-License-Identifier: Apache-2.0
// Which parts of a region are known to be zero, so that they need not be read. Learnt by asking the
// region once, from start to end, in a thread of its own; what was not asked about yet counts as data.
// Any thread may ask.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "libcommon/base/stop.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class ZeroMap {
 public:
  struct Row {
    bool zero = false;
    std::uint64_t length = 0;  // of the bytes from the offset on that are alike, at most what was asked
  };

  // Asks the region about everything; ends early when it is stopped or the region does not say.
  void survey(Backend& region, const Stop& stop);
  Row row(std::uint64_t offset, std::uint64_t length) const;
  // The range was written to.
  void forget(std::uint64_t offset, std::uint64_t length);

 private:
  void add(std::uint64_t offset, std::uint64_t length);

  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::uint64_t> zeroes_;  // start, end; guarded by mutex_
};

}  // namespace r3
