// SPDX-License-Identifier: Apache-2.0
// What the machine swaps on, and whether it could do without one of its areas: /proc/swaps, /proc/meminfo and
// the limits of control groups. Only reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace r3 {

struct SwapUse {
  std::string path;
  std::uint64_t size = 0;  // bytes
  std::uint64_t used = 0;
  int priority = 0;
};

// The format of /proc/swaps; lines that make no sense are left out.
std::vector<SwapUse> parse_swaps(std::string_view text);
std::vector<SwapUse> read_swaps();
std::optional<SwapUse> find_swap(const std::vector<SwapUse>& swaps, const std::string& path);

// A value of /proc/meminfo in bytes, 0 if it is not there: "MemAvailable".
std::uint64_t meminfo_value(std::string_view text, std::string_view name);

// Why the pages that are out on `path` would not fit into what else there is, or nothing. A control group whose
// limit leaves no room counts, too: its processes would be killed.
std::string why_no_room(const std::string& path);

}  // namespace r3
