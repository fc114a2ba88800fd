// SPDX-License-Identifier: Apache-2.0
// The command line of mmap-hashsync: what was given, and whether it goes together.
#pragma once

#include <string>
#include <vector>

#include "libcommon/cli/tool.hpp"
#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/endpoint.hpp"
#include "tools/mmap-hashsync/link.hpp"
#include "tools/mmap-hashsync/send_session.hpp"

namespace r3::sync {

struct Options {
  std::string command;                 // send, recv, hub
  std::vector<std::string> arguments;  // FILE..., DIR, ADDR
  std::vector<std::string> listen;
  SecurityOptions security;
  std::chrono::milliseconds timeout{0};
  bool once = false;

  // Of a source.
  SendOptions send;
  std::uint64_t chunk = kLeastChunk;
  std::string detect = "auto";
  unsigned writer = 0;
  std::string pre_command, post_command;

  // Of a destination.
  bool journal = false, snapshot = false, sparse = false;
  std::string fsync = "end";
  std::string accept_command, done_command;

  // Of both.
  std::string compress = "auto";
  std::uint64_t bandwidth = 0;
  unsigned threads = 0;
  std::string stats;
  unsigned max_connections = 64;
};

void declare(Tool& tool, Options& options);
// Throws std::invalid_argument; fills in what follows from what was given.
void check_usage(Options& options);

Compress compression_of(const Options& options);
DestinationOptions destination_options(const Options& options);

// What the arguments are for.
std::vector<SourceSpec> sources_of(const Options& options);  // send
// The one ADDR to connect to, or nothing with --listen. Throws if there are too many or too few arguments.
std::optional<std::string> address_of(const Options& options);

}  // namespace r3::sync
