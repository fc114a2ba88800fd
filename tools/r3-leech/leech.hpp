// SPDX-License-Identifier: Apache-2.0
// A region that is taken over from a seeder, from the first byte pulled until it is one like any other:
//
//   device -> Lockable -> Tracked -> Swap -> Leeched (local region + seeder), at the end the local region
//
// Composes the boxes and goes through the phases: approach.hpp is the time before the move, migration.hpp what
// each step means, next_seeder.hpp the time when all is here.
#pragma once

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/lockable.hpp"
#include "libcommon/storage/swap.hpp"
#include "tools/r3-leech/approach.hpp"
#include "tools/r3-leech/next_seeder.hpp"

namespace r3 {

class Leech {
 public:
  // Opens both regions; throws when the local one is not to be overwritten, or has another size.
  Leech(Tool& tool, LeechOptions& options);
  ~Leech();

  // Everything up to the last phase, or until the tool is to stop. Throws when it cannot be done.
  void run();
  void ask_to_finalize() { if (approach_) approach_->ask(); }
  bool here() const { return here_; }
  Json status() const;
  // Takes the device away. What has been pulled is kept; throws if something written was lost.
  void end();

 private:
  void take_up(const std::optional<OwnerRecord>& before);
  void open_regions(const std::optional<OwnerRecord>& before);
  void follow_hints();
  bool move_when_right();
  bool try_to_move(bool all_first);
  void open();
  bool wait_until_here(std::chrono::milliseconds look);
  void finish();
  void go_on_as_owner();
  bool say_farewell(OwnerRecord record);
  void seed();

  Tool& tool_;
  LeechOptions& options_;
  Outside outside_;
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
  std::unique_ptr<Approach> approach_;
  std::unique_ptr<Swap> swap_;
  std::unique_ptr<Tracked> tracked_;
  std::unique_ptr<Lockable> lock_;
  std::unique_ptr<NextSeeder> next_;
  std::atomic<double> downtime_{-1};
  bool in_doubt_ = false;          // the record says committing
  std::atomic<bool> here_{false};  // the region is ours
  std::atomic<bool> has_all_{false};
  std::atomic<bool> seeding_{false};
  TaskGroup hints_;
};

}  // namespace r3
