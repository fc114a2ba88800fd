// SPDX-License-Identifier: Apache-2.0
// A region that is taken over from a seeder, from the first byte pulled until it is one like any other:
//
//   device -> Lockable -> Tracked -> Swap -> Leeched (local region + seeder), at the end the local region
//
// Composes the boxes and goes through the phases; what each means is in migration.hpp.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/progress.hpp"
#include "libcommon/storage/lockable.hpp"
#include "libcommon/storage/swap.hpp"
#include "tools/r3-leech/decision.hpp"
#include "tools/r3-leech/migration.hpp"
#include "tools/r3-leech/options.hpp"

namespace r3 {

class Leech {
 public:
  // Opens both regions; throws when the local one is not to be overwritten, or has another size.
  Leech(Tool& tool, LeechOptions& options);
  ~Leech();

  // Everything up to the last phase, or until the tool is to stop. Throws when it cannot be done.
  void run();
  void ask_to_finalize() { asked_ = true; }
  bool here() const { return here_; }
  Json status() const;
  // Takes the device away. What has been pulled is kept; throws if something written was lost.
  void end();

 private:
  void open_regions(const std::optional<OwnerRecord>& before);
  void go_on_as_owner();
  bool say_farewell(OwnerRecord record);
  void take_up(const std::optional<OwnerRecord>& before);
  void attach();
  void begin();
  bool move_when_right();
  bool one_look();
  bool decide();
  bool do_round();
  bool on_timeout();
  bool try_to_move(bool all_first);
  void open();
  bool wait_until_here(std::chrono::milliseconds look);
  void finish();
  void seed();
  void update();
  void check_room() const;
  void phase(const char* name, const Json& more = {});
  void hook(const char* option, const std::string& command) const;

  Tool& tool_;
  LeechOptions& options_;
  std::unique_ptr<Backend> local_;
  OwnerFile file_;
  std::unique_ptr<Backend> remote_;
  R3Client* client_ = nullptr;  // remote_
  std::unique_ptr<HashSpared> spared_;
  std::unique_ptr<LeechStore> store_;
  std::unique_ptr<PullPlan> plan_;
  std::unique_ptr<LeechSource> source_;
  std::unique_ptr<Leeched> leeched_;
  std::unique_ptr<Migration> migration_;
  std::unique_ptr<Swap> swap_;
  std::unique_ptr<Tracked> tracked_;
  std::unique_ptr<Lockable> lock_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Seeder> seeder_;
  std::unique_ptr<SeedServer> server_;
  std::unique_ptr<Progress> progress_;
  Decision decision_;
  const Migration::Clock::time_point started_ = Migration::Clock::now();
  std::atomic<const char*> phase_{"starting"};
  std::atomic<bool> asked_{false};
  std::atomic<double> expected_{0}, downtime_{-1}, dirty_rate_{0};
  std::atomic<unsigned> rounds_{0};
  bool in_doubt_ = false;     // the record says committing
  std::atomic<bool> here_{false};         // the region is ours
  std::atomic<bool> has_all_{false};
  bool percent_tried_ = false;
  TaskGroup hints_;
};

}  // namespace r3
