// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/gate.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

// Sequentially consistent on both sides: either close() sees who came in, or that one sees it closed.
bool Gate::try_enter() noexcept {
  inside_.fetch_add(1);
  if (state_.load() == State::open) return true;
  leave();
  return false;
}

void Gate::enter(std::atomic<std::uint64_t>* waiting) {
  if (try_enter()) return;
  struct Waiting {
    std::atomic<std::uint64_t>* count;
    ~Waiting() {
      if (count) --*count;
    }
  } const counted{waiting};
  if (waiting) ++*waiting;
  bell_.ring();
  while (!try_enter()) {
    const auto rings = bell_.rings();
    const State now = state_.load();
    if (now == State::refused) fail(error_, "access");
    if (now == State::closed) bell_.wait(rings);
  }
}

void Gate::leave() noexcept {
  if (inside_.fetch_sub(1) == 1 && state_.load() != State::open) bell_.ring();
}

void Gate::open() noexcept {
  state_ = State::open;
  bell_.ring();
}

void Gate::close() noexcept {
  state_ = State::closed;
  for (;;) {
    const auto rings = bell_.rings();
    if (inside_.load() == 0) return;
    bell_.wait(rings);
  }
}

void Gate::refuse(int error) noexcept {
  error_ = error;
  state_ = State::refused;
  bell_.ring();
}

}  // namespace r3
