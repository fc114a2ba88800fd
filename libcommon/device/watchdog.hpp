// SPDX-License-Identifier: Apache-2.0
// Bounds a wait for something that may never answer: as long as the work gets on, it may take any
// time; when nothing at all happens for a while, it is given up.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstdint>
#include <functional>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class Watchdog {
 public:
  // Calls `give_up` once, in a thread of its own, when `progress` has returned the same for
  // `patience`.
  Watchdog(std::chrono::milliseconds patience, std::function<std::uint64_t()> progress,
           std::function<void()> give_up) {
    watcher_.spawn([this, patience, progress = std::move(progress), give_up = std::move(give_up)] {
      std::uint64_t last = progress();
      while (!watcher_.stop().wait_for(patience)) {
        const std::uint64_t now = progress();
        if (now == last) return give_up();
        last = now;
      }
    });
  }

 private:
  TaskGroup watcher_;
};

// Bounds a wait that may be under way when the tool is asked to stop: from then on it has `grace`, and then
// `give_up` is called once, in a thread of its own. Borrows the stop.
class EndAfterStop {
 public:
  EndAfterStop(const Stop& stop, std::chrono::milliseconds grace, std::function<void()> give_up) {
    watcher_.spawn([this, &stop, grace, give_up = std::move(give_up)] {
      if (wait_for(stop.fd(), POLLIN, watcher_.stop()) != Wait::ready) return;
      if (!watcher_.stop().wait_for(grace)) give_up();
    });
  }

 private:
  TaskGroup watcher_;
};

// What a driver does then: says it, and abandons the backend, so that all who wait get an error.
void give_up(Backend& backend, std::chrono::milliseconds patience) noexcept;

}  // namespace r3
