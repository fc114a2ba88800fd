// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_recording.hpp"

#include <algorithm>
#include <bit>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/whole_file.hpp"
#include "libcommon/storage/pull_list.hpp"
#include "libcommon/storage/pull_order.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kUnit = 4096;
constexpr std::uint64_t kMostUnits = 1ULL << 28;

// Several readers who each go forward keep a range each, as long as it is no longer than this: the order
// among them is lost only so far.
constexpr std::size_t kReaders = 8;
constexpr std::uint64_t kLongestOfSeveral = 1 * MiB;

std::uint64_t unit_for(std::uint64_t size) {
  return std::max(kUnit, std::bit_ceil(size / kMostUnits + 1));
}

}  // namespace

PullRecording::PullRecording(std::uint64_t region_size)
    : size_(region_size), unit_(unit_for(region_size)), seen_(region_size / unit_ / 64 + 1) {}

void PullRecording::touched(std::uint64_t offset, std::uint64_t length) {
  if (length == 0 || offset >= size_) return;
  const std::uint64_t end = offset + std::min(length, size_ - offset);
  const std::lock_guard lock(mutex_);
  for (std::uint64_t unit = offset / unit_; unit <= (end - 1) / unit_; ++unit) {
    if (seen(unit)) continue;
    seen_[unit / 64] |= 1ULL << (unit % 64);
    const std::uint64_t from = unit * unit_;
    add({from, std::min(unit_, size_ - from)});
  }
}

void PullRecording::add(PullRange range) {
  const std::size_t last = ranges_.size();
  for (std::size_t i = last; i > 0 && i + kReaders > last; --i) {
    PullRange& one = ranges_[i - 1];
    if (one.offset + one.length != range.offset) continue;
    if (i != last && one.length + range.length > kLongestOfSeveral) continue;
    one.length += range.length;
    return;
  }
  if (last < PullOrder::kMostRanges) ranges_.push_back(range);
}

std::string PullRecording::text() const {
  const std::lock_guard lock(mutex_);
  std::string text = "# what was read, in order: offset,length in a region of " +
                     std::to_string(size_) + " bytes\n";
  for (const PullRange& range : ranges_) text += to_text(range) + "\n";
  return text;
}

void PullRecording::save(const std::string& path) const {
  write_whole_file(path, text(), 0666, Existing::replace);
}

}  // namespace r3
