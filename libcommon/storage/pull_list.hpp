// SPDX-License-Identifier: Apache-2.0
// The text of an order, one range a line: OFFSET[,LENGTH[,WEIGHT]], sizes as everywhere (4096, 64K, 1M).
// Without a LENGTH, the chunk around OFFSET is meant. Higher weights (0 to 1000000000, 1 if none is
// given) come first; among equals the order of the lines holds. Empty lines and what follows a # are
// left out. r3tools(7), PULL ORDER, is the specification; recordings (pull_recording.hpp) are such lists.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/storage/pull_source.hpp"

namespace r3 {

struct PullList {
  std::vector<PullRange> ranges;  // the most urgent first; each within the region, none empty
  std::size_t outside = 0;        // lines that were left out, or cut, for they reach past its end
};

// `name` (of the file or command) stands in messages. An order is only ever advice, so one that was made
// for a larger region is taken as far as it goes (`outside` counts). Throws std::invalid_argument for the
// first line that is none, and for more than PullOrder::kMostRanges of them.
PullList parse_pull_list(std::string_view text, const std::string& name, std::uint64_t region_size);

// Reads a file (at most kMostListBytes), then as above.
PullList read_pull_list(const std::string& path, std::uint64_t region_size);

inline constexpr std::size_t kMostListBytes = 64 << 20;

// A line for the list.
std::string to_text(const PullRange& range);

}  // namespace r3
