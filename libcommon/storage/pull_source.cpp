// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_source.hpp"

#include <algorithm>

namespace r3 {

std::optional<PullRange> SequentialSource::next(std::uint64_t most) {
  const std::lock_guard lock(mutex_);
  if (at_ == size_) return {};
  const PullRange range{at_, std::min(most, size_ - at_)};
  at_ += range.length;
  return range;
}

}  // namespace r3
