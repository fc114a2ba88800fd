// SPDX-License-Identifier: Apache-2.0
// What the three commands do, each composed of the parts.
#pragma once

#include "tools/mmap-hashsync/service.hpp"

namespace r3::sync {

void run_send(Tool& tool, const Options& options, Service& service);
void run_recv(Tool& tool, const Options& options, Service& service);
void run_hub(Tool& tool, const Options& options, Service& service);

// How a destination takes files, with its hooks.
DestinationOptions with_hooks(Tool& tool, const Options& options, Service& service);
// Receives what one source sends.
void receive_from(Peer& peer, Destination& destination, Service& service);

// Runs a command with sh and R3_* in its environment ("NAME=VALUE"); throws if it fails. What it prints on its
// standard output is returned, without the end of the line.
std::string run_hook(const std::string& command, const std::vector<std::string>& environment,
                     const Stop& stop);

}  // namespace r3::sync
