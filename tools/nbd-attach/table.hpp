// SPDX-License-Identifier: Apache-2.0
// A file of attachments by name, for service managers and cron: one a line,
//
//   NAME TARGET [OPTION[=VALUE]]...      # options as on the command line, without dashes
//
// Knows the lines, not what they mean.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace r3 {

struct TableEntry {
  std::string name, target;
  std::vector<std::pair<std::string, std::string>> options;
};

// Throws std::invalid_argument that names the line: no target, a name given twice.
std::vector<TableEntry> parse_table(std::string_view text);

}  // namespace r3
