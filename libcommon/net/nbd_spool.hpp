// SPDX-License-Identifier: Apache-2.0
// The room that long writes take together, over all connections to an export, from their first byte until they have
// been made. Where it is short, whoever needs more waits in a queue. The first in it has a lane of its own, so that
// writes that all lack their ends do not wait for each other; and a write that holds room and hardly grows is cut,
// so that clients that promise and do not send harm nobody else.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/stop.hpp"

namespace r3::nbd::server {

struct SpoolRules {
  std::uint64_t room = 1024 * MiB;  // bytes; the lane, so one write, comes on top
  // Where room is short, a write that has grown by less than `growth` within `window` is cut.
  std::chrono::milliseconds window{2'000};
  std::uint64_t growth = 128 * KiB;
};

class Spool {
  using Clock = std::chrono::steady_clock;

 public:
  explicit Spool(const SpoolRules& rules) : rules_(rules) {}

  // Of one write. Ends before the spool does.
  class Place {
   public:
    // `cut` ends the connection: it is called at most once, by any thread, and only before complete().
    Place(Spool& spool, std::function<void()> cut);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // Room for `size` bytes more, that have arrived; waits for it. Throws ESHUTDOWN on the stop.
    void grow(std::uint64_t size, const Stop& stop);
    // All has arrived.
    void complete();

   private:
    friend class Spool;
    Spool& spool_;
    std::function<void()> cut_;       // guarded by the spool's mutex_, like all below; empty: must not be called
    std::uint64_t room_ = 0;          // that it takes, outside the lane
    std::uint64_t arrived_ = 0;
    std::uint64_t arrived_before_ = 0;  // at since_
    Clock::time_point since_;
  };

 private:
  bool may_grow(const Place& place, std::uint64_t size) const;
  void wait_for_room(std::unique_lock<std::mutex>& lock, Place& place, std::uint64_t size, const Stop& stop);
  void cut_the_stalled();
  static void look_again_later(Place& place);

  const SpoolRules rules_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::uint64_t used_ = 0;       // guarded by mutex_
  Place* in_lane_ = nullptr;     // guarded by mutex_
  std::list<Place*> places_;     // guarded by mutex_
  std::list<Place*> waiting_;    // guarded by mutex_; the first is served first
};

}  // namespace r3::nbd::server
