// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_call.hpp"

#include <algorithm>

namespace r3::nbd {

namespace {

// A server that answers in more scattered parts than this at a time makes no sense.
constexpr std::size_t kMostParts = 1024;

}  // namespace

bool Coverage::add(std::uint64_t start, std::uint64_t length) {
  const auto end = start + length;
  if (start < prefix_) return false;
  auto next = std::lower_bound(parts_.begin(), parts_.end(), std::pair(start, start));
  if (next != parts_.end() && next->first < end) return false;
  if (next != parts_.begin() && std::prev(next)->second > start) return false;
  if (start == prefix_) {
    prefix_ = end;
    if (next != parts_.end() && next->first == end) {
      prefix_ = next->second;
      parts_.erase(next);
    }
    return true;
  }
  if (next != parts_.begin() && std::prev(next)->second == start) {
    std::prev(next)->second = end;
    if (next != parts_.end() && next->first == end) {
      std::prev(next)->second = next->second;
      parts_.erase(next);
    }
    return true;
  }
  if (next != parts_.end() && next->first == end) {
    next->first = start;
    return true;
  }
  if (parts_.size() >= kMostParts) return false;
  parts_.insert(next, {start, end});
  return true;
}

void Coverage::clear() {
  prefix_ = 0;
  parts_.clear();
}

}  // namespace r3::nbd
