// SPDX-License-Identifier: Apache-2.0
// What a user can say about a mount: the options as they are declared, and what makes no sense among them.
// Knows nothing of how they are carried out.
#pragma once

#include <string>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/net/region.hpp"
#include "tools/r3-mount/hooks.hpp"
#include "tools/r3-mount/managed.hpp"

namespace r3 {

struct MountOptions {
  std::string region;
  std::string driver = "fuse";
  bool direct = false;
  bool list_drivers = false;
  std::string mode = "0600";
  std::string owner;
  DeviceOptions device;
  RegionOptions open;
  ManagedOptions managed;
  HookOptions hooks;
  unsigned pass_fd = 0;  // 0: none
};

void declare_mount(Tool& tool, MountOptions& options);
// Parses --mode and --owner into `device`. Throws std::invalid_argument, before anything is opened.
void check_mount(MountOptions& options);

}  // namespace r3
