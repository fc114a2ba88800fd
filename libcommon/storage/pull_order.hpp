// SPDX-License-Identifier: Apache-2.0
// The order in which a region is pulled: first the ranges that somebody named (a file, a recording, a
// hint from the content), then everything, from one end to the other. Several sources make one with
// PullLayers. Knows offsets only (pull_source.hpp), not where the order came from.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/storage/pull_source.hpp"

namespace r3 {

enum class PullRest { sequential, reverse, nothing };

class PullOrder : public PullSource {
 public:
  static constexpr std::size_t kMostRanges = 1 << 20;  // what a file or a hint may name: 16 MiB of memory

  // `first`: in this order, each within `size` bytes and not empty; then the rest.
  PullOrder(std::uint64_t size, std::vector<PullRange> first, PullRest rest);

  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t, std::uint64_t, bool) override { return false; }

  // One more range for the end of what comes first. What lies past the region's end is left out; false
  // if kMostRanges are there already.
  bool append(PullRange range);

 private:
  std::optional<PullRange> next_named(std::uint64_t most);
  PullRange next_of_rest(std::uint64_t most);

  const std::uint64_t size_;
  const PullRest rest_;
  mutable std::mutex mutex_;
  std::vector<PullRange> first_;  // all from here on guarded by mutex_
  std::size_t index_ = 0;         // in first_
  std::uint64_t taken_ = 0;       // bytes of first_[index_]
  std::uint64_t rest_taken_ = 0;  // bytes, from the end that the rest begins at
};

// Asks each of several sources in turn, so the first is the most urgent; tells all of them what is read.
class PullLayers : public PullSource {
 public:
  explicit PullLayers(std::vector<std::unique_ptr<PullSource>> layers) : layers_(std::move(layers)) {}

  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t offset, std::uint64_t length, bool missed) override;

 private:
  const std::vector<std::unique_ptr<PullSource>> layers_;
};

}  // namespace r3
