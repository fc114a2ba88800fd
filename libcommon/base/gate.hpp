// SPDX-License-Identifier: Apache-2.0
// A gate that calls pass through, which can be closed: then nobody is inside and whoever comes waits. To
// pass costs two atomic additions. Knows nothing of what the calls do.
#pragma once

#include <atomic>
#include <cstdint>

#include "libcommon/base/bell.hpp"

namespace r3 {

class Gate {
 public:
  enum class State { open, closed, refused };

  explicit Gate(State state = State::open) : state_(state) {}

  // While one lives, its thread is inside. Waits as long as the gate is closed; throws std::system_error
  // with the errno given to refuse().
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(&gate) { gate.enter(nullptr); }
    // Counted in `waiting` as long as it waits.
    Pass(Gate& gate, std::atomic<std::uint64_t>& waiting) : gate_(&gate) { gate.enter(&waiting); }
    // Does not wait: whether it is inside is to be asked.
    Pass(Gate& gate, std::nullptr_t) : gate_(gate.try_enter() ? &gate : nullptr) {}
    ~Pass() {
      if (gate_) gate_->leave();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    explicit operator bool() const { return gate_ != nullptr; }

   private:
    Gate* gate_;
  };

  void open() noexcept;
  // On return nobody is inside. Not to be called from inside.
  void close() noexcept;
  // Like close(), without waiting for who is inside; who waits and who comes fails, until open().
  void refuse(int error) noexcept;
  State state() const { return state_.load(std::memory_order_relaxed); }
  // Rings when somebody begins to wait, leaves a gate that is not open, or the state changes.
  Bell& bell() { return bell_; }

 private:
  void enter(std::atomic<std::uint64_t>* waiting);
  bool try_enter() noexcept;
  void leave() noexcept;

  std::atomic<State> state_;
  std::atomic<int> error_{0};
  std::atomic<std::uint64_t> inside_{0};
  Bell bell_;
};

}  // namespace r3
