// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/turns.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::chrono::milliseconds kLinger{50};       // for the next piece of a writer
constexpr std::chrono::seconds kBackgroundPause{1};    // after the last write
constexpr std::chrono::seconds kLongestSide{30};

}  // namespace

Turns::Turn::Turn(Turns& turns, Kind kind, std::uint64_t position) : turns_(turns), kind_(kind), position_(position) {
  std::unique_lock lock(turns.mutex_);
  const auto me = turns.waiting_.insert(turns.waiting_.end(), {kind, position});
  for (;;) {
    if (turns.abandoned_) {
      turns.waiting_.erase(me);
      fail(ESHUTDOWN, "the tape was given up");
    }
    auto recheck = Clock::time_point::max();
    if (!turns.taken_ && turns.next(Clock::now(), recheck) == me) break;
    if (turns.taken_ || recheck == Clock::time_point::max()) turns.changed_.wait(lock);
    else turns.changed_.wait_until(lock, recheck);
  }
  turns.waiting_.erase(me);
  turns.taken_ = true;
}

Turns::Turn::~Turn() {
  const std::lock_guard lock(turns_.mutex_);
  const auto now = Clock::now();
  turns_.taken_ = false;
  turns_.at_ = position_;
  turns_.changed_.notify_all();
  if (kind_ == Kind::write && !wrote_) return;
  const Kind side = kind_ == Kind::write ? Kind::write : Kind::read;
  if (side != turns_.side_) {
    turns_.side_ = side;
    turns_.side_until_ = now + std::min<std::chrono::nanoseconds>(moving_, kLongestSide);
  }
  if (kind_ == Kind::write) turns_.last_write_ = now;
}

void Turns::Turn::ends_at(std::uint64_t position, std::chrono::nanoseconds moving) {
  position_ = position;
  moving_ = moving;
}

void Turns::abandon() noexcept {
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

Turns::Queue::iterator Turns::nearest(Kind kind) {
  auto ahead = waiting_.end(), first = waiting_.end();
  for (auto one = waiting_.begin(); one != waiting_.end(); ++one) {
    if (one->kind != kind) continue;
    if (first == waiting_.end() || one->position < first->position) first = one;
    if (one->position >= at_ && (ahead == waiting_.end() || one->position < ahead->position)) ahead = one;
  }
  return ahead != waiting_.end() ? ahead : first;
}

Turns::Queue::iterator Turns::next(Clock::time_point now, Clock::time_point& recheck) {
  const auto write = std::ranges::find(waiting_, Kind::write, &Waiting::kind);
  const auto read = nearest(Kind::read);
  const bool writes = side_ == Kind::write && now < side_until_;
  if (read != waiting_.end()) {
    if (write == waiting_.end() && writes && now < last_write_ + kLinger) {
      recheck = std::min(side_until_, last_write_ + kLinger);
      return waiting_.end();
    }
    if (write == waiting_.end()) return read;
    const bool stays = now < side_until_;
    if (stays) recheck = side_until_;  // the choice is another one then, and nobody else may look again
    const bool writer = (side_ == Kind::write) == stays;
    return writer ? write : read;
  }
  if (write != waiting_.end()) return write;
  if (now < last_write_ + kBackgroundPause) {
    recheck = last_write_ + kBackgroundPause;
    return waiting_.end();
  }
  return nearest(Kind::background);
}

}  // namespace r3
