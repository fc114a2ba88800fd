// SPDX-License-Identifier: Apache-2.0
// What chunks held when their epoch was sealed, for those that were changed again before they could be
// sent: so that the remote gets the epoch as it was, and never a part of the next one. A bounded number of
// bytes. Any thread may call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "libcommon/base/bytes.hpp"

namespace r3 {

class Asides {
 public:
  Asides(std::uint64_t chunk, std::uint64_t limit) : chunk_(chunk), most_(limit / chunk) {}

  // Room for one chunk, to be filled by the caller at once; empty if there is no room. Chunks are given
  // once.
  Bytes add(std::uint64_t chunk, std::uint64_t length) {
    const std::lock_guard lock(mutex_);
    if (copies_.size() >= most_) return {};
    auto& copy = copies_[chunk];
    copy = std::make_unique_for_overwrite<std::byte[]>(length);
    return {copy.get(), length};
  }
  // Moves the copies of the chunks from `first` on, if there are any, to their places in `into`.
  void take(std::uint64_t first, Bytes into) {
    const std::lock_guard lock(mutex_);
    for (std::uint64_t at = 0; !copies_.empty() && at < into.size(); at += chunk_, ++first) {
      const auto found = copies_.find(first);
      if (found == copies_.end()) continue;
      const auto length = std::min<std::uint64_t>(chunk_, into.size() - at);
      std::copy_n(found->second.get(), length, into.data() + at);
      copies_.erase(found);
    }
  }
  void clear() {
    const std::lock_guard lock(mutex_);
    copies_.clear();
  }

 private:
  const std::uint64_t chunk_;
  const std::size_t most_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::unique_ptr<std::byte[]>> copies_;  // guarded by mutex_
};

}  // namespace r3
