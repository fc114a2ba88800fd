// SPDX-License-Identifier: Apache-2.0
// What a user can say to tapisk, and what follows from it where nothing is said. Knows nothing of how it is done.
#pragma once

#include <optional>
#include <string>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "tools/r3-mount/managed.hpp"
#include "tools/regions/reel/open_tape.hpp"

namespace r3 {

struct TapiskOptions {
  std::string tape;  // DEVICE
  std::uint64_t size = 0;              // 0: not given
  std::optional<std::uint32_t> block;  // likewise
  std::string index;
  std::string compact;  // the target
  bool rebuild = false;
  bool force = false;
  std::string mode = "0600";
  std::string owner;
  std::string driver = "fuse";
  std::string sync;  // empty: local, or remote with a cache in memory
  DeviceOptions device;
  ManagedOptions managed;
};

void declare_tapisk(Tool& tool, TapiskOptions& options);
// Which tape is meant; checks all. Throws std::invalid_argument, before anything is opened.
TapeChoice check_tapisk(TapiskOptions& options);
// Where the cache is, how large it may become, and in which order the tape is read, now that the region is known.
void settle_cache(TapiskOptions& options, const TapeChoice& choice, const TapeRegion& region);

}  // namespace r3
