// SPDX-License-Identifier: Apache-2.0
// Whether the region's server can be reached: an event when it changes, and told to who asks. Any thread.
#pragma once

#include <chrono>
#include <mutex>

#include "libcommon/cli/tool.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

class LinkState {
 public:
  explicit LinkState(Tool& tool) : tool_(tool) {}

  // Makes the region to be opened tell this object, which outlives it.
  void watch(RegionOptions& options);
  Json& add_to(Json& status) const;

 private:
  void changed(bool connected);

  Tool& tool_;
  mutable std::mutex mutex_;
  bool connected_ = true;  // guarded by mutex_
  std::uint64_t outages_ = 0;  // guarded by mutex_
  std::chrono::steady_clock::time_point since_{};  // guarded by mutex_: of the last one
};

}  // namespace r3
