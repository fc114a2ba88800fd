// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/swapping.hpp"

#include <cstring>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/progress.hpp"
#include "libcommon/device/watchdog.hpp"
#include "tools/ram-dl/left.hpp"
#include "tools/ram-dl/swaps.hpp"

namespace r3 {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLookEvery{100};
constexpr milliseconds kRoomEvery{500};

}  // namespace

Swapping::Swapping(SwapUsher& usher, const std::string& path, int flags, Events& events)
    : usher_(usher), path_(path), events_(events) {
  if (!find_swap(read_swaps(), path_)) usher_.swap_on(path_, flags);
}

std::uint64_t Swapping::used() const {
  const auto own = find_swap(read_swaps(), path_);
  return own ? own->used : 0;
}

void Swapping::wait_for_room() {
  std::string said;
  while (!anyway_.requested()) {
    const std::string why = why_no_room(path_);
    if (why.empty()) return;
    if (said.empty()) {
      log_warning(path_ + ": stays on until there is room: " + why);
      log_hint("end some programs; --ask force does not wait, and some may be killed then");
      events_.send(Json().add("event", "waiting").add("path", path_).add("reason", why));
      said = why;
    }
    anyway_.wait_for(kRoomEvery);
  }
}

int Swapping::swap_off_once() {
  const std::uint64_t all = used();
  Progress progress("coming back", all, events_);
  usher_.begin_swap_off(path_);
  for (;;) {
    if (const auto result = usher_.swap_off_result(kLookEvery)) return *result;
    const std::uint64_t left = used();
    progress.update(all - std::min(all, left));
  }
}

void Swapping::end(milliseconds grace, std::function<std::uint64_t()> get_on, std::function<void()> give_up) {
  for (;;) {
    wait_for_room();
    int error = 0;
    {
      const Watchdog watchdog(grace, [&] { return used() + get_on(); }, give_up);
      error = swap_off_once();
    }
    if (error == 0 || !find_swap(read_swaps(), path_)) break;  // or somebody else has turned it off
    if (!for_want_of_memory(error)) leave_as_killed("swapoff " + path_ + ": " + std::strerror(error));
    log_warning(path_ + ": memory ran out before all pages were back; tried again");
    std::this_thread::sleep_for(kRoomEvery);  // bounded, and nobody can want it shorter: memory is what is missing
  }
  off_ = true;
}

std::string Swapping::last_words() const {
  if (off_) return path_ + ": no longer swap";
  return path_ + ": " + format_size(used()) +
         " of programs' memory are out there: who needs a part of it is killed with SIGBUS; "
         "ram-dl --clean ends what is left";
}

}  // namespace r3
