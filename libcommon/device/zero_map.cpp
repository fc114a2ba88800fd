// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/zero_map.hpp"

#include <algorithm>

#include "libcommon/base/log.hpp"
#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kStep = GiB;
constexpr std::size_t kExtents = 4096;
constexpr std::uint64_t kLeast = 4 * KiB;  // shorter rows are not worth a note

}  // namespace

void ZeroMap::survey(Backend& region, const Stop& stop) try {
  std::uint64_t at = 0;
  while (at < region.size() && !stop.requested()) {
    const auto found = region.extents(at, std::min(kStep, region.size() - at), kExtents);
    for (const Extent& extent : found) {
      if (extent.zero && extent.length >= kLeast) add(extent.offset, extent.length);
      at = extent.offset + extent.length;
    }
    if (found.empty()) return;
  }
} catch (const std::system_error& error) {
  if (!stop.requested()) log_debug(std::string("what is zero is not known: ") + error.what());
}

void ZeroMap::add(std::uint64_t offset, std::uint64_t length) {
  std::lock_guard lock(mutex_);
  const auto before = zeroes_.lower_bound(offset);
  if (before != zeroes_.begin() && std::prev(before)->second == offset) {
    std::prev(before)->second += length;
    return;
  }
  zeroes_[offset] = offset + length;
}

ZeroMap::Row ZeroMap::row(std::uint64_t offset, std::uint64_t length) const {
  std::lock_guard lock(mutex_);
  const auto after = zeroes_.upper_bound(offset);
  if (after != zeroes_.begin() && std::prev(after)->second > offset)
    return {true, std::min(length, std::prev(after)->second - offset)};
  if (after != zeroes_.end()) return {false, std::min(length, after->first - offset)};
  return {false, length};
}

void ZeroMap::forget(std::uint64_t offset, std::uint64_t length) {
  std::lock_guard lock(mutex_);
  const auto end = offset + length;
  auto at = zeroes_.upper_bound(offset);
  if (at != zeroes_.begin()) --at;
  while (at != zeroes_.end() && at->first < end) {
    const auto [first, last] = *at;
    if (last <= offset) {
      ++at;
      continue;
    }
    at = zeroes_.erase(at);
    if (first < offset) zeroes_[first] = offset;
    if (last > end) at = zeroes_.emplace(end, last).first, ++at;
  }
}

}  // namespace r3
