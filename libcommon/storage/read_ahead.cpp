// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/read_ahead.hpp"

#include <algorithm>

namespace r3 {

namespace {

// Reads that were passed over still belong to their stream: threads, and a kernel that reads ahead
// itself, mix the order up a little.
constexpr std::int64_t kLateReads = 8;

std::int64_t as_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }
std::uint64_t as_unsigned(std::int64_t value) { return static_cast<std::uint64_t>(value); }

}  // namespace

ReadAhead::ReadAhead(std::uint64_t region_size, std::uint64_t most_ahead)
    : size_(as_signed(region_size)), most_ahead_(as_signed(most_ahead)) {}

void ReadAhead::set_most_ahead(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  most_ahead_ = as_signed(bytes);
}

bool ReadAhead::demanded(std::uint64_t offset, std::uint64_t length, bool) {
  const Read read{offset, length};
  if (length == 0 || read.end() < offset || as_signed(read.end()) > size_) return false;
  const std::lock_guard lock(mutex_);
  if (!follow(read)) {
    std::optional<Stream> stream = begin(read);
    if (!stream) {
      remember(read);
      return false;
    }
    if (streams_.size() == kStreams) streams_.pop_back();
    streams_.push_front(*stream);
  }
  // In few large pieces: only when half of what there may be has been used up.
  Stream& stream = streams_.front();
  stream.filling = stream.filling || 2 * stream.foreseen <= ahead(stream);
  return stream.filling;
}

std::optional<PullRange> ReadAhead::next(std::uint64_t most) {
  const std::lock_guard lock(mutex_);
  for (Stream& stream : streams_)
    if (stream.filling)
      if (auto range = foresee(stream, as_signed(std::min(most, as_unsigned(size_))))) return range;
  return {};
}

bool ReadAhead::follow(const Read& read) {
  for (auto stream = streams_.begin(); stream != streams_.end(); ++stream) {
    if (!continues(*stream, read)) continue;
    streams_.splice(streams_.begin(), streams_, stream);
    return true;
  }
  return false;
}

// Whether the read is where the stream goes, or within what has been given already, or late; moves on.
bool ReadAhead::continues(Stream& stream, const Read& read) {
  const std::int64_t begin = as_signed(read.offset), end = as_signed(read.end());
  const std::int64_t length = as_signed(read.length);
  std::int64_t moved = 0;  // bytes of the stream that this read leaves behind
  if (stream.kind == Kind::steps) {
    if (length != stream.length || (begin - stream.at) % stream.step != 0) return false;
    const std::int64_t steps = (begin - stream.at) / stream.step;
    if (steps < -kLateReads || steps > stream.foreseen / length) return false;
    if (steps < 0) return true;
    stream.at += (steps + 1) * stream.step;
    moved = (steps + 1) * length;
  } else {
    const bool forward = stream.kind == Kind::forward;
    const std::int64_t gap = forward ? begin - stream.at : stream.at - end;
    if (gap < -kLateReads * length || gap < -stream.used || gap > stream.foreseen) return false;
    moved = gap + length;
    if (moved <= 0) return true;
    stream.at += forward ? moved : -moved;
  }
  stream.used += std::min(moved, length);
  stream.foreseen -= std::min(stream.foreseen, moved);
  return true;
}

const ReadAhead::Read* ReadAhead::find(std::uint64_t offset, std::uint64_t length) const {
  const std::size_t count = std::min(remembered_, kHistory);
  for (std::size_t i = 0; i < count; ++i)
    if (history_[i].offset == offset && history_[i].length == length) return &history_[i];
  return nullptr;
}

// Three reads that touch, or four of one length with equal steps, are a stream.
std::optional<ReadAhead::Stream> ReadAhead::begin(const Read& read) const {
  const std::size_t count = std::min(remembered_, kHistory);
  const std::int64_t length = as_signed(read.length);
  for (std::size_t i = 0; i < count; ++i) {
    const Read& one = history_[i];
    const std::int64_t step = as_signed(read.offset) - as_signed(one.offset);
    const std::int64_t before = as_signed(one.offset) - step;  // where the one before that was
    const bool forward = one.end() == read.offset, backward = read.end() == one.offset;
    if (one.length != read.length || step == 0 || before < 0) continue;
    if (find(as_unsigned(before), read.length) == nullptr) continue;
    if (forward) return Stream{Kind::forward, as_signed(read.end()), 0, length, 3 * length};
    if (backward) return Stream{Kind::backward, as_signed(read.offset), 0, length, 3 * length};
    if (before - step < 0 || find(as_unsigned(before - step), read.length) == nullptr) continue;
    return Stream{Kind::steps, as_signed(read.offset) + step, step, length, 4 * length};
  }
  return {};
}

void ReadAhead::remember(const Read& read) {
  if (find(read.offset, read.length) == nullptr) history_[remembered_++ % kHistory] = read;
}

std::int64_t ReadAhead::ahead(const Stream& stream) const {
  return std::min(most_ahead_, stream.used);
}

// The next piece of what the stream may have ahead, cut where the region ends.
std::optional<PullRange> ReadAhead::foresee(Stream& stream, std::int64_t most) const {
  const std::int64_t room = ahead(stream) - stream.foreseen;
  const bool steps = stream.kind == Kind::steps;
  std::int64_t length = steps ? stream.length : std::min(room, most);
  std::int64_t from = stream.at + stream.foreseen;
  if (stream.kind == Kind::backward) from = stream.at - stream.foreseen - length;
  if (steps) from = stream.at + stream.foreseen / stream.length * stream.step;
  const std::int64_t end = std::min(from + length, size_);
  from = std::max<std::int64_t>(from, 0);
  stream.filling = room >= length && length > 0 && from < end;
  if (!stream.filling) return {};
  stream.foreseen += length;
  return PullRange{as_unsigned(from), as_unsigned(std::min(end - from, most))};
}

}  // namespace r3
