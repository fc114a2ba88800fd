// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_unflushed.hpp"

#include <cstring>

namespace r3 {

// One byte is always left free, so that begin_ == end_ means that all of them are.
std::byte* UnflushedLog::take(std::size_t bytes) {
  if (!ring_) ring_.reset(new std::byte[limit_]);
  if (begin_ <= end_) {
    if (bytes < limit_ - end_) {
      end_ += bytes;
      return ring_.get() + end_ - bytes;
    }
    if (bytes >= begin_) return nullptr;
    end_ = bytes;
    return ring_.get();
  }
  if (bytes >= begin_ - end_) return nullptr;
  end_ += bytes;
  return ring_.get() + end_ - bytes;
}

void UnflushedLog::push(const wire::Header& request, ConstBytes data) {
  Unflushed& change = changes_.emplace_back();
  change.request = request;
  kept_ += data.size() + sizeof(Unflushed);
  if (data.empty()) return;
  if (std::byte* at = take(data.size())) {
    std::memcpy(at, data.data(), data.size());
    change.data = {at, data.size()};
  } else {
    change.own.assign(data.begin(), data.end());
    change.data = change.own;
  }
}

void UnflushedLog::pop() {
  const Unflushed& change = changes_.front();
  kept_ -= change.data.size() + sizeof(Unflushed);
  if (!change.data.empty() && change.own.empty())
    begin_ = static_cast<std::size_t>(change.data.data() - ring_.get()) + change.data.size();
  changes_.pop_front();
  if (changes_.empty()) begin_ = end_ = 0;
}

}  // namespace r3
