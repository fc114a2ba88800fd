// SPDX-License-Identifier: Apache-2.0
// The order in which memory is brought in the background: on from where a process touched it last, then
// from the start; each window once. For the contract see pull_source.hpp.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/storage/pull_source.hpp"

namespace r3 {

class FollowSource : public PullSource {
 public:
  explicit FollowSource(std::uint64_t size) : size_(size), given_((size + kWindow - 1) / kWindow) {}

  std::optional<PullRange> next(std::uint64_t most) override {
    std::lock_guard lock(mutex_);
    if (rest_.length == 0) {
      auto window = std::find(given_.begin() + static_cast<std::ptrdiff_t>(at_), given_.end(), false);
      if (window == given_.end()) window = std::find(given_.begin(), given_.end(), false);
      if (window == given_.end()) return {};
      *window = true;
      at_ = static_cast<std::size_t>(window - given_.begin());
      rest_ = {at_ * kWindow, std::min(kWindow, size_ - at_ * kWindow)};
    }
    const PullRange range{rest_.offset, std::min(rest_.length, most)};
    rest_ = {rest_.offset + range.length, rest_.length - range.length};
    return range;
  }

  bool demanded(std::uint64_t offset, std::uint64_t length, bool) override {
    std::lock_guard lock(mutex_);
    at_ = std::min<std::size_t>((offset + length) / kWindow, given_.size() - 1);
    return false;  // the order changes, not what is left of it
  }

 private:
  static constexpr std::uint64_t kWindow = MiB;
  const std::uint64_t size_;
  std::mutex mutex_;
  std::vector<bool> given_;  // guarded by mutex_
  std::size_t at_ = 0;       // guarded by mutex_
  PullRange rest_;           // of a window that was asked for in pieces; guarded by mutex_
};

}  // namespace r3
