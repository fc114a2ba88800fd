// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_order.hpp"

#include <algorithm>
#include <utility>

#include "libcommon/base/bytes.hpp"

namespace r3 {

PullOrder::PullOrder(std::uint64_t size, std::vector<PullRange> first, PullRest rest)
    : size_(size), rest_(rest), first_(std::move(first)) {}

std::optional<PullRange> PullOrder::next(std::uint64_t most) {
  const std::lock_guard lock(mutex_);
  if (auto range = next_named(most)) return range;
  if (rest_ == PullRest::nothing || rest_taken_ == size_) return {};
  return next_of_rest(most);
}

std::optional<PullRange> PullOrder::next_named(std::uint64_t most) {
  if (index_ == first_.size()) return {};
  const PullRange& whole = first_[index_];
  const PullRange part{whole.offset + taken_, std::min(most, whole.length - taken_)};
  taken_ += part.length;
  if (taken_ == whole.length) {
    ++index_;
    taken_ = 0;
  }
  return part;
}

// Backwards the parts begin at multiples of `most`, so that whole chunks are asked for.
PullRange PullOrder::next_of_rest(std::uint64_t most) {
  const std::uint64_t left = size_ - rest_taken_;
  const bool backward = rest_ == PullRest::reverse;
  const std::uint64_t from = backward ? round_down(left - 1, most) : rest_taken_;
  const std::uint64_t length = backward ? left - from : std::min(most, left);
  rest_taken_ += length;
  return {from, length};
}

bool PullOrder::append(PullRange range) {
  if (range.offset >= size_ || range.length == 0) return true;
  range.length = std::min(range.length, size_ - range.offset);
  const std::lock_guard lock(mutex_);
  if (index_ < first_.size()) {  // grows what has not been given yet
    PullRange& last = first_.back();
    if (last.offset + last.length == range.offset) {
      last.length += range.length;
      return true;
    }
  }
  if (first_.size() == kMostRanges) return false;
  first_.push_back(range);
  return true;
}

std::optional<PullRange> PullLayers::next(std::uint64_t most) {
  for (const auto& layer : layers_)
    if (auto range = layer->next(most)) return range;
  return {};
}

bool PullLayers::demanded(std::uint64_t offset, std::uint64_t length, bool missed) {
  bool more = false;
  for (const auto& layer : layers_) more |= layer->demanded(offset, length, missed);
  return more;
}

}  // namespace r3
