// SPDX-License-Identifier: Apache-2.0
// One region as swap, from swapon to the last page's return. Knows the kernel's swap, not where the bytes are.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "libcommon/base/stop.hpp"
#include "libcommon/cli/events.hpp"
#include "tools/ram-dl/usher.hpp"

namespace r3 {

class Swapping {
 public:
  // Swap is on when this returns; if it was on already, nothing is done. Borrows all.
  Swapping(SwapUsher& usher, const std::string& path, int flags, Events& events);

  // Bytes that are out there now.
  std::uint64_t used() const;

  // Takes all pages back. Waits until the machine has room for them, or somebody calls do_not_wait(); when
  // memory runs out on the way it begins again. `get_on` is a number that changes as the device works: when that
  // and the pages stand still for `grace`, `give_up` is called, once. Leaves as if killed if the kernel keeps the swap on.
  void end(std::chrono::milliseconds grace, std::function<std::uint64_t()> get_on, std::function<void()> give_up);
  // Any thread, at any time.
  void do_not_wait() { anyway_.request(); }

  // What a user has to know who leaves now.
  std::string last_words() const;

 private:
  void wait_for_room();
  int swap_off_once();

  SwapUsher& usher_;
  const std::string path_;
  Events& events_;
  Stop anyway_;
  std::atomic<bool> off_{false};
};

}  // namespace r3
