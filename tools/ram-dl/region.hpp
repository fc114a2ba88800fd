// SPDX-License-Identifier: Apache-2.0
// The region that pages go to: opened, with its copy if there is one, and what a user should know of it first.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "libcommon/cli/tool.hpp"
#include "tools/ram-dl/mirror.hpp"
#include "tools/ram-dl/options.hpp"
#include "tools/ram-dl/swap_area.hpp"

namespace r3 {

// What is risky about this region as swap, a line each.
std::vector<std::string> warnings_for(const Region& region, const DlOptions& options);

class SwapRegion {
 public:
  // Opens it, and the copy; refuses, but with --force, what is in use. `me`: the owner to be. `left`: the UUID of
  // the swap area that a killed process had here, or nothing.
  SwapRegion(const DlOptions& options, Tool& tool, const std::string& me, const std::string& left);

  Backend& backend() { return mirror_ ? *mirror_ : *remote_; }
  // Whether that area, and so the pages in it, is still there.
  bool resumed() const { return resumed_; }
  // From now on it is ours; returns the area's UUID. release(): no longer.
  std::string claim();
  void release();
  void add_status(Json& status) const;

 private:
  void open_copy(const std::string& left);
  std::unique_ptr<Backend> open(bool first);
  void check_free(Backend& backend, const std::string& name) const;
  void check_owner(const SwapArea& area) const;

  const DlOptions& options_;
  Tool& tool_;
  const Region region_;
  const std::string me_, left_;
  std::atomic<bool> connected_{true};
  bool resumed_ = false;
  std::unique_ptr<Backend> remote_;
  std::unique_ptr<Mirror> mirror_;  // or this
};

}  // namespace r3
