// SPDX-License-Identifier: Apache-2.0
// The time before the move: all is pulled, then round after round what was written meanwhile, until it is time to
// finalize: by the user's word, at a percentage, or because it costs little now (decision.hpp). Knows nothing of
// how a region is taken over, nor of devices.
#pragma once

#include <atomic>

#include "libcommon/cli/progress.hpp"
#include "tools/r3-leech/decision.hpp"
#include "tools/r3-leech/migration.hpp"
#include "tools/r3-leech/outside.hpp"

namespace r3 {

class Approach {
 public:
  // Borrows everything.
  Approach(Tool& tool, const LeechOptions& options, Outside& outside, Migration& migration, Leeched& region,
           LeechStore& store, HashSpared& spared);

  // From the first byte; what is here already is compared with the seeder's. Any time again.
  void begin();
  enum class Then { move, move_when_all_is_here, stopped };
  // Until it is time. Throws when the local region cannot keep what is pulled, when the region goes to somebody
  // else, and for --on-timeout cancel. After a refusal, call it again.
  Then wait_until_right();
  // Any thread.
  void ask() { asked_ = true; }
  void add_to(Json& status) const;
  // The progress bar and the link's numbers; also for what comes after the move.
  void update();
  void end_progress() { progress_.reset(); }

 private:
  std::optional<Then> one_look();
  std::optional<Then> decide();
  std::optional<Then> on_timeout() const;
  void do_round();
  void listen();
  bool percent_reached() const;
  void check_room() const;
  double now() const;

  Tool& tool_;
  const LeechOptions& options_;
  Outside& outside_;
  Migration& migration_;
  Leeched& region_;
  LeechStore& store_;
  HashSpared& spared_;
  std::unique_ptr<Progress> progress_;
  Decision decision_;
  Rhythm rhythm_;
  const Migration::Clock::time_point started_ = Migration::Clock::now();
  std::uint64_t written_ = 0;  // since the last round
  bool percent_tried_ = false;
  std::atomic<bool> asked_{false};
  std::atomic<double> expected_{0}, dirty_rate_{0}, busy_{0}, quiet_{0};
  std::atomic<Rhythm::State> writes_{Rhythm::State::unknown};
  std::atomic<unsigned> rounds_{0};
};

}  // namespace r3
