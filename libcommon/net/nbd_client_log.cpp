// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_log.hpp"

#include <algorithm>

namespace r3::nbd {

namespace {

std::uint64_t cost_of(const Change& change) {
  return sizeof change + 64 + change.payload().size();
}

}  // namespace

bool ReplayLog::add(std::uint64_t session, const Call& call) {
  auto change = std::make_shared<Change>();
  change->command = call.command;
  change->flags = static_cast<std::uint16_t>(call.flags & ~kFastZero);
  change->offset = call.offset;
  change->length = call.length;
  if (!call.payload.empty()) {
    change->bytes = std::make_unique_for_overwrite<std::byte[]>(call.payload.size());
    std::memcpy(change->bytes.get(), call.payload.data(), call.payload.size());
  }
  std::lock_guard lock(mutex_);
  if (session != session_) return false;
  bytes_ += cost_of(*change);
  changes_.push_back(std::move(change));
  return true;
}

std::vector<std::shared_ptr<const Change>> ReplayLog::begin(std::uint64_t session) {
  std::lock_guard lock(mutex_);
  session_ = session;
  return {changes_.begin(), changes_.end()};
}

std::uint64_t ReplayLog::mark() const {
  std::lock_guard lock(mutex_);
  return dropped_ + changes_.size();
}

void ReplayLog::drop(std::uint64_t mark) {
  std::vector<std::shared_ptr<const Change>> dropped;  // freed without the lock
  std::lock_guard lock(mutex_);
  while (dropped_ < mark && !changes_.empty()) {
    bytes_ -= cost_of(*changes_.front());
    dropped.push_back(std::move(changes_.front()));
    changes_.pop_front();
    ++dropped_;
  }
}

ChangeOrder::Turn::Turn(ChangeOrder& order, std::uint64_t offset, std::uint64_t length)
    : order_(order), offset_(offset), end_(offset + length) {
  std::unique_lock lock(order_.mutex_);
  const auto overlaps = [this](const Turn* other) {
    return other->offset_ < end_ && offset_ < other->end_;
  };
  ++order_.waiting_;
  order_.ended_.wait(lock, [&] {
    return std::none_of(order_.turns_.begin(), order_.turns_.end(), overlaps);
  });
  --order_.waiting_;
  order_.turns_.push_back(this);
}

ChangeOrder::Turn::~Turn() {
  std::lock_guard lock(order_.mutex_);
  std::erase(order_.turns_, this);
  if (order_.waiting_ > 0) order_.ended_.notify_all();
}

}  // namespace r3::nbd
