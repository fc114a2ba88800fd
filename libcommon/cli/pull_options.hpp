// SPDX-License-Identifier: Apache-2.0
// The options of every tool that pulls a region in an order (r3tools(7), PULL ORDER).
#pragma once

#include "libcommon/cli/options.hpp"
#include "libcommon/net/pull_plan.hpp"

namespace r3 {

inline void declare_pull_order(OptionSet& set, PullPlanOptions& options) {
  set.text("--pull-order", "ORDER", options.order,
           "auto (default), sequential, reverse, ext4, sqlite, mp4, elf, script, disk, a FILE of ranges or "
           "exec:COMMAND");
  set.text("--record", "FILE", options.record, "write down what is read, in order");
  set.text("--replay", "FILE", options.replay, "pull what was recorded first");
}

}  // namespace r3
