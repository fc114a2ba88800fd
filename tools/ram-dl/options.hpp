// SPDX-License-Identifier: Apache-2.0
// What a user can say to ram-dl.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "libcommon/cli/tool.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

struct DlOptions {
  std::string region, driver = "auto", discard = "no", fallback, compress = "auto";
  unsigned priority = 0;  // only if given
  bool has_priority = false;
  bool force = false, strict = false, clean = false;
  bool inspect = false;
  std::string format = "auto";
  std::uint64_t offset = 0, length = 0;  // of --inspect; 0: to the end
  std::uint64_t reserve = 64 * MiB;
  unsigned threads = 32;
  std::chrono::milliseconds grace{60'000};
  RegionOptions open;
};

void declare_options(OptionSet& set, DlOptions& options);
// Throws std::invalid_argument. Completes what follows from the command line.
void check_options(const OptionSet& set, DlOptions& options);

// The region, with --compress in it.
Region region_of(const DlOptions& options);
// By which a device that a killed process left is known (DeviceOptions::identity).
std::string identity_of(const std::string& region);
// The flags of swapon(2).
int swap_flags(const DlOptions& options);

}  // namespace r3
