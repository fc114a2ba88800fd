// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_spool.hpp"

#include <algorithm>
#include <utility>

#include "libcommon/base/error.hpp"

namespace r3::nbd::server {

namespace {

constexpr std::chrono::milliseconds kLook{100};  // how often who waits looks for the stop and for the stalled

}  // namespace

Spool::Place::Place(Spool& spool, std::function<void()> cut)
    : spool_(spool), cut_(std::move(cut)), since_(Clock::now()) {
  std::lock_guard lock(spool_.mutex_);
  spool_.places_.push_back(this);
}

Spool::Place::~Place() {
  std::lock_guard lock(spool_.mutex_);
  spool_.places_.remove(this);
  spool_.used_ -= room_;
  if (spool_.in_lane_ == this) spool_.in_lane_ = nullptr;
  spool_.freed_.notify_all();
}

void Spool::Place::grow(std::uint64_t size, const Stop& stop) {
  std::unique_lock lock(spool_.mutex_);
  const bool others_first = !spool_.waiting_.empty() && spool_.in_lane_ != this;
  if (others_first || !spool_.may_grow(*this, size)) spool_.wait_for_room(lock, *this, size, stop);
  arrived_ += size;
  if (spool_.in_lane_ == this) return;
  room_ += size;
  spool_.used_ += size;
}

void Spool::Place::complete() {
  std::lock_guard lock(spool_.mutex_);
  cut_ = nullptr;
}

bool Spool::may_grow(const Place& place, std::uint64_t size) const {
  return in_lane_ == &place || used_ + size <= rules_.room;
}

void Spool::wait_for_room(std::unique_lock<std::mutex>& lock, Place& place, std::uint64_t size,
                          const Stop& stop) {
  struct Turn {
    Spool& spool;
    const std::list<Place*>::iterator mine;
    ~Turn() {
      spool.waiting_.erase(mine);
      spool.freed_.notify_all();  // another one is the first now
    }
  } const turn{*this, waiting_.insert(waiting_.end(), &place)};
  for (;;) {
    if (waiting_.front() == &place) {
      if (!in_lane_) in_lane_ = &place;
      if (may_grow(place, size)) break;
      cut_the_stalled();
    }
    if (stop.requested()) fail(ESHUTDOWN, "no room for a long write");
    freed_.wait_for(lock, kLook);
  }
  look_again_later(place);  // others have kept it waiting
}

// Those who wait cannot grow.
void Spool::cut_the_stalled() {
  const auto now = Clock::now();
  for (Place* place : places_) {
    if (!place->cut_ || now - place->since_ < rules_.window || std::ranges::find(waiting_, place) != waiting_.end())
      continue;
    if (place->arrived_ - place->arrived_before_ < rules_.growth) std::exchange(place->cut_, nullptr)();
    look_again_later(*place);
  }
}

void Spool::look_again_later(Place& place) {
  place.since_ = Clock::now();
  place.arrived_before_ = place.arrived_;
}

}  // namespace r3::nbd::server
