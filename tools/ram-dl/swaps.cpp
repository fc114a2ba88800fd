// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/swaps.hpp"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/device/mounts.hpp"

namespace r3 {

namespace {

namespace fs = std::filesystem;

// /proc/swaps writes what would break its columns as \ooo.
std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

// The number in a control group's file; none for "max", or if there is no such file.
std::optional<std::uint64_t> number_in(const fs::path& file) {
  try {
    std::istringstream text(read_small_file(file));
    std::uint64_t value = 0;
    if (text >> value) return value;
  } catch (const std::system_error&) {  // not a group, or gone
  }
  return std::nullopt;
}

// Of a group's own memory: what it would give back before it is in need.
std::uint64_t cache_of(const fs::path& group) {
  try {
    std::istringstream lines(read_small_file(group / "memory.stat"));
    std::string name;
    for (std::uint64_t value = 0; lines >> name >> value;)
      if (name == "inactive_file") return value;
  } catch (const std::system_error&) {
  }
  return 0;
}

std::string group_without_room(const fs::path& group, std::uint64_t elsewhere) {
  const auto limit = number_in(group / "memory.max");
  const auto out = number_in(group / "memory.swap.current");
  if (!limit || !out || *out == 0) return {};
  const auto now = number_in(group / "memory.current").value_or(0) - cache_of(group);
  const auto room = (*limit > now ? *limit - now : 0) + elsewhere;
  if (*out <= room) return {};
  return "of the control group " + group.string() + " " + format_size(*out) + " are out, and its limit has room for " +
         format_size(room);
}

// Where version 2 of control groups is mounted; the first version has other files, and no limit of swap's own.
std::string find_groups() {
  for (const Mount& mount : read_mounts())
    if (mount.type == "cgroup2") return mount.path;
  return {};
}

std::string any_group_without_room(const std::string& root, std::uint64_t elsewhere) {
  if (root.empty()) return {};
  std::error_code none;
  const auto options = fs::directory_options::skip_permission_denied;
  for (fs::recursive_directory_iterator entry(root, options, none), end; !none && entry != end; entry.increment(none))
    if (entry->is_directory(none))
      if (auto why = group_without_room(entry->path(), elsewhere); !why.empty()) return why;
  return {};
}

}  // namespace

std::vector<SwapUse> parse_swaps(std::string_view text) {
  std::vector<SwapUse> swaps;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string path, kind;
    SwapUse swap;
    if (!(words >> path >> kind >> swap.size >> swap.used >> swap.priority)) continue;
    swap.path = unescape(path);
    swap.size *= KiB;
    swap.used *= KiB;
    swaps.push_back(swap);
  }
  return swaps;
}

std::vector<SwapUse> read_swaps() { return parse_swaps(read_small_file("/proc/swaps")); }

std::optional<SwapUse> find_swap(const std::vector<SwapUse>& swaps, const std::string& path) {
  const auto found = std::find_if(swaps.begin(), swaps.end(), [&](const SwapUse& swap) { return swap.path == path; });
  if (found == swaps.end()) return std::nullopt;
  return *found;
}

std::uint64_t meminfo_value(std::string_view text, std::string_view name) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string what;
    std::uint64_t kib = 0;
    if (words >> what >> kib && what.size() == name.size() + 1 && what.starts_with(name)) return kib * KiB;
  }
  return 0;
}

std::string why_no_room(const std::string& path) {
  const auto swaps = read_swaps();
  const auto own = find_swap(swaps, path);
  if (!own || own->used == 0) return {};
  std::uint64_t elsewhere = 0;
  for (const SwapUse& swap : swaps)
    if (swap.path != path) elsewhere += swap.size - swap.used;
  const auto memory = meminfo_value(read_small_file("/proc/meminfo"), "MemAvailable");
  if (own->used > memory + elsewhere)
    return format_size(own->used) + " are out, and there is room for " + format_size(memory + elsewhere);
  return any_group_without_room(find_groups(), elsewhere);
}

}  // namespace r3
