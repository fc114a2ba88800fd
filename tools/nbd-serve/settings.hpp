// SPDX-License-Identifier: Apache-2.0
// nbd-serve's command line: the options, and what of it makes sense.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libcommon/cli/options.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "tools/nbd-serve/exports.hpp"

namespace r3 {

struct Settings {
  std::vector<std::string> listen;
  std::vector<std::string> regions;
  std::string description;
  bool read_only = false;
  bool plain = false;
  bool exit_with_parent = false;
  unsigned most_connections = 1000;
  std::uint64_t minimum_block = 1;
  std::uint64_t preferred_block = 4 * KiB;
  std::uint64_t maximum_block = 32 * MiB;
  std::uint64_t spool_limit = UINT64_MAX;  // not given: 1 GiB, or what one write to each export takes
  NbdServerOptions server;
};

void declare_settings(OptionSet& options, Settings& settings);

// All that the command line says is looked at before anything is opened or made: throws std::invalid_argument.
// Completes `settings` (a first REGION that is "-", the block sizes); returns what to share.
std::vector<NamedRegion> check_settings(Settings& settings);

}  // namespace r3
