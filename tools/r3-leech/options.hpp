// SPDX-License-Identifier: Apache-2.0
// What a user can say about a take-over: the options as they are declared, and what makes no sense among
// them. Knows nothing of how they are carried out.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/net/pull_plan.hpp"
#include "libcommon/net/region.hpp"
#include "libcommon/net/seed_server.hpp"

namespace r3 {

enum class OnTimeout { cancel, force, postcopy };

struct LeechOptions {
  std::string remote, local, driver = "fuse", state;
  DeviceOptions device;
  RegionOptions open;
  std::string finalize = "auto", on_timeout = "postcopy";
  unsigned finalize_at = 0;  // percent; 0: not given
  unsigned finalize_fd = 0;  // 0: not given
  std::chrono::milliseconds max_downtime{300}, max_time{0}, quiet_wait{5'000}, lease{10'000}, hook_timeout{10'000};
  std::string on_suspend, on_resume, on_stop;
  PullPlanOptions order;
  unsigned pull_workers = 128;  // scattered blocks are many small requests
  std::uint64_t pull_rate = 0;
  std::vector<std::string> seed_on;
  SeedAccess access;

  OnTimeout timeout_policy() const;
  std::string state_file() const;  // empty: none
};

void declare_leech(Tool& tool, LeechOptions& options);
// Throws std::invalid_argument, before anything is opened.
void check_leech(const LeechOptions& options);

}  // namespace r3
