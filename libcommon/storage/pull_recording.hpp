// SPDX-License-Identifier: Apache-2.0
// Remembers which parts of a region are read, in the order of their first reading: the working set of one
// run, saved as a list (pull_list.hpp) that the next run can pull first. Knows neither the bytes nor who
// reads them. Memory: 1/32768 of the region (at most 32 MiB), and 16 bytes a range.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/storage/pull_source.hpp"

namespace r3 {

// A source that only listens: a layer beside others, or alone with touched() (a pager's faults).
class PullRecording : public PullSource {
 public:
  explicit PullRecording(std::uint64_t region_size);

  std::optional<PullRange> next(std::uint64_t) override { return {}; }
  bool demanded(std::uint64_t offset, std::uint64_t length, bool) override {
    touched(offset, length);
    return false;
  }
  // What was read before, and what comes after PullOrder::kMostRanges ranges, is not added.
  void touched(std::uint64_t offset, std::uint64_t length);

  std::string text() const;
  // Replaces the file in one step (whole_file.hpp).
  void save(const std::string& path) const;

 private:
  bool seen(std::uint64_t unit) const { return seen_[unit / 64] >> (unit % 64) & 1; }
  void add(PullRange range);

  const std::uint64_t size_;
  const std::uint64_t unit_;  // bytes that one bit stands for
  mutable std::mutex mutex_;
  std::vector<std::uint64_t> seen_;  // guarded by mutex_; a bit a unit
  std::vector<PullRange> ranges_;    // guarded by mutex_
};

}  // namespace r3
