// SPDX-License-Identifier: Apache-2.0
// What a user can say to nbd-attach, on the command line or in a table.
#pragma once

#include <string>

#include "libcommon/cli/tool.hpp"
#include "tools/nbd-attach/attachment.hpp"

namespace r3 {

struct AttachOptions {
  std::string target, device, export_name, detach, table, way = "sysfs";
  bool list = false, force = false, swap = false;
  AttachmentOptions attachment;
};

void declare_options(OptionSet& set, AttachOptions& options);
// Throws std::invalid_argument. With a table, takes what its line says; without a name, leaves target empty.
void check_options(AttachOptions& options);

}  // namespace r3
