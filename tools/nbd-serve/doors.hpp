// SPDX-License-Identifier: Apache-2.0
// Where nbd-serve's clients come from: listeners, or connections that are there already.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

struct Doors {
  std::vector<Listener> listeners;
  std::size_t inherited = 0;  // the first so many: who made them knows where they are
  std::vector<Channel> channels;
};

// Those at the addresses and those that were inherited; without any, NBD's port on this machine. Throws what
// Listener does.
Doors open_doors(std::vector<std::string> addresses, std::chrono::milliseconds patience, const Stop& stop);

// Tells where the exports are; returns what --run's command finds in its environment.
std::vector<std::string> announce(Tool& tool, const Doors& doors, const std::vector<NbdExport>& exports);

}  // namespace r3
