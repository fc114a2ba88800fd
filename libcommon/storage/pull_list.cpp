// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_list.hpp"

#include <algorithm>
#include <stdexcept>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/storage/pull_order.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMostWeight = 1'000'000'000;
constexpr std::size_t kLongestLine = 100;  // without its comment

struct Weighted {
  PullRange range;
  std::uint64_t weight;
};

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r";
  const auto first = text.find_first_not_of(blanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// Takes what stands before the next `end` (or all of it) off the text.
std::string_view take_until(std::string_view& text, char end) {
  const auto at = text.find(end);
  const std::string_view taken = text.substr(0, at);
  text = at == text.npos ? std::string_view{} : text.substr(at + 1);
  return taken;
}

Weighted parse_line(std::string_view line) {
  const auto commas = std::count(line.begin(), line.end(), ',');
  if (commas > 2 || line.size() > kLongestLine)
    throw std::invalid_argument("OFFSET[,LENGTH[,WEIGHT]] is accepted");
  Weighted found{{parse_size(trim(take_until(line, ','))), 1}, 1};
  if (commas >= 1) found.range.length = parse_size(trim(take_until(line, ',')));
  if (commas == 2) found.weight = parse_number(trim(line), kMostWeight);
  if (found.range.length == 0) throw std::invalid_argument("a length of 0 names nothing");
  return found;
}

// What of the range lies in the region: false if that is not all of it.
bool clip(PullRange& range, std::uint64_t region_size) {
  const std::uint64_t room = range.offset < region_size ? region_size - range.offset : 0;
  const bool inside = range.length <= room;
  range.length = std::min(range.length, room);
  return inside;
}

}  // namespace

PullList parse_pull_list(std::string_view text, const std::string& name, std::uint64_t region_size) {
  std::vector<Weighted> lines;
  PullList list;
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view rest = take_until(text, '\n');
    const std::string_view line = trim(take_until(rest, '#'));
    if (line.empty()) continue;
    try {
      Weighted found = parse_line(line);
      if (!clip(found.range, region_size)) ++list.outside;
      if (found.range.length > 0) lines.push_back(found);
      if (lines.size() > PullOrder::kMostRanges)
        throw std::invalid_argument("more than 1048576 ranges");
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": line " + std::to_string(number) + ": " + error.what());
    }
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Weighted& a, const Weighted& b) { return a.weight > b.weight; });
  list.ranges.reserve(lines.size());
  for (const Weighted& line : lines) list.ranges.push_back(line.range);
  return list;
}

PullList read_pull_list(const std::string& path, std::uint64_t region_size) {
  return parse_pull_list(read_small_file(path, kMostListBytes), path, region_size);
}

std::string to_text(const PullRange& range) {
  return std::to_string(range.offset) + "," + std::to_string(range.length);
}

}  // namespace r3
