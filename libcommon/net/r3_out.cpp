// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_out.hpp"

#include <algorithm>
#include <cstring>

#include "libcommon/base/sizes.hpp"

namespace r3 {

std::byte* OutQueue::reserve(std::size_t bytes) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ + bytes <= capacity_) return memory_.get() + end_;
  const auto have = end_ - begin_;
  if (have + bytes > capacity_) {
    capacity_ = std::max<std::size_t>({have + bytes, 2 * capacity_, 4 * KiB});
    auto grown = std::unique_ptr<std::byte[]>(new std::byte[capacity_]);
    if (have > 0) std::memcpy(grown.get(), memory_.get() + begin_, have);
    memory_ = std::move(grown);
  } else {
    std::memmove(memory_.get(), memory_.get() + begin_, have);
  }
  begin_ = 0;
  end_ = have;
  return memory_.get() + end_;
}

void OutQueue::add(std::size_t bytes, bool apart) {
  if (bytes == 0) return;
  if (apart || closed_ || parts_.empty() || parts_.back().borrowed) parts_.push_back({nullptr, 0});
  parts_.back().size += bytes;
  closed_ = apart;
  end_ += bytes;
  size_ += bytes;
}

void OutQueue::borrow(ConstBytes bytes) {
  parts_.push_back({bytes.data(), bytes.size()});
  size_ += bytes.size();
}

std::span<const iovec> OutQueue::parts() {
  std::size_t count = 0, own = begin_;
  for (const Part& part : parts_) {
    if (count == gathered_.size()) break;
    const std::byte* from = part.borrowed ? part.borrowed : memory_.get() + own;
    if (!part.borrowed) own += part.size;
    gathered_[count++] = {const_cast<std::byte*>(from), part.size};
  }
  return {gathered_.data(), count};
}

void OutQueue::sent(std::size_t bytes) {
  size_ -= bytes;
  while (bytes > 0) {
    Part& part = parts_.front();
    const auto n = std::min(bytes, part.size);
    if (part.borrowed) part.borrowed += n;
    else begin_ += n;
    part.size -= n;
    bytes -= n;
    if (part.size == 0) parts_.pop_front();
  }
}

}  // namespace r3
