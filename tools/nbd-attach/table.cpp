// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/table.hpp"

#include <algorithm>
#include <sstream>
#include <stdexcept>

namespace r3 {

std::vector<TableEntry> parse_table(std::string_view text) {
  std::vector<TableEntry> entries;
  std::istringstream lines{std::string(text)};
  unsigned number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line);
    TableEntry entry;
    if (!(words >> entry.name) || entry.name.starts_with('#')) continue;
    const std::string where = "line " + std::to_string(number);
    if (!(words >> entry.target)) throw std::invalid_argument(where + ": NAME TARGET [OPTION]... is accepted");
    for (std::string word; words >> word && !word.starts_with('#');) {
      const auto equals = word.find('=');
      entry.options.emplace_back(word.substr(0, equals), equals == word.npos ? "" : word.substr(equals + 1));
    }
    const auto same = [&](const TableEntry& other) { return other.name == entry.name; };
    if (std::any_of(entries.begin(), entries.end(), same))
      throw std::invalid_argument(where + ": the name " + entry.name + " is given twice");
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace r3
