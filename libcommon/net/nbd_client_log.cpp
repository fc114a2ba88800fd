// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_log.hpp"

#include <algorithm>

namespace r3::nbd {

namespace {

constexpr std::size_t kLong = 64 * KiB;
constexpr std::uint64_t kMostSpare = 16 * MiB;  // what one flush of a busy client makes free

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
  if (!call.payload.empty()) keep(*change, call.payload);
  std::lock_guard lock(mutex_);
  if (session != session_) return false;
  bytes_ += cost_of(*change);
  changes_.push_back(std::move(change));
  return true;
}

void ReplayLog::keep(Change& change, ConstBytes bytes) {
  if (bytes.size() >= kLong) {
    std::lock_guard lock(mutex_);
    const auto fits = [&](const Spare& each) {
      return each.room >= bytes.size() && each.room / 2 <= bytes.size();
    };
    const auto found = std::find_if(spares_.begin(), spares_.end(), fits);
    if (found != spares_.end()) {
      change.room = found->room;
      change.bytes = std::move(found->bytes);
      spare_bytes_ -= change.room;
      *found = std::move(spares_.back());
      spares_.pop_back();
    }
  }
  if (!change.bytes) {
    change.room = bytes.size();
    change.bytes = std::make_unique_for_overwrite<std::byte[]>(change.room);
  }
  std::memcpy(change.bytes.get(), bytes.data(), bytes.size());
}

// With the mutex.
void ReplayLog::spare(Change& change) {
  if (change.lent || change.room < kLong || spare_bytes_ + change.room > kMostSpare) return;
  spare_bytes_ += change.room;
  spares_.push_back({std::move(change.bytes), change.room});
}

std::vector<std::shared_ptr<const Change>> ReplayLog::begin(std::uint64_t session) {
  std::lock_guard lock(mutex_);
  session_ = session;
  for (const auto& change : changes_) change->lent = true;  // for as long as the caller likes
  return {changes_.begin(), changes_.end()};
}

std::uint64_t ReplayLog::mark() const {
  std::lock_guard lock(mutex_);
  return dropped_ + changes_.size();
}

void ReplayLog::drop(std::uint64_t mark) {
  std::vector<std::shared_ptr<Change>> dropped;  // freed without the lock
  std::lock_guard lock(mutex_);
  while (dropped_ < mark && !changes_.empty()) {
    bytes_ -= cost_of(*changes_.front());
    spare(*changes_.front());
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
