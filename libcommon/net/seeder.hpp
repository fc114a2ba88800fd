// SPDX-License-Identifier: Apache-2.0
// The seeder's side of a migration (r3-protocol(7), MIGRATION; tests/model/migration.pml and tracking.pml
// prove its rules): who of the leechers gets what, when the application stops and goes on, and the record
// of who owns the region. Knows no device and no command, only what it is given to call.
//
//   device -> Lockable -> Tracked -> region <- READs of the leechers
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/r3_migration.hpp"
#include "libcommon/storage/lockable.hpp"
#include "libcommon/storage/owner_record.hpp"
#include "libcommon/storage/tracked.hpp"

namespace r3 {

// What a seeder has done. `suspend` and `sync_device` may throw: the migration is then refused.
struct SeederActions {
  std::function<void()> suspend;      // the application is to stop writing
  std::function<void()> resume;       // it is to go on; must not throw
  std::function<void()> sync_device;  // what the kernel holds of the device's content is written
  // {"event":...}: tracking, finalizing, resumed (why), migrated, closed
  std::function<void(const std::string& event, const std::string& why)> tell;
};

class Seeder : public R3Migration {
 public:
  enum class Phase { seeding, suspended, given, gone };

  // Takes up what the record says, and makes one if there is none; `suspended` becomes seeding, and calls
  // resume. Throws EBUSY for a record that says that the region is not here. Borrows everything.
  Seeder(Lockable& lock, Tracked& tracked, Backend& region, const OwnerFile& record,
         SeederActions actions, std::chrono::milliseconds longest_lease);
  ~Seeder() override;

  wire::MigrationReply answer(wire::Type type, const wire::MigrationRequest& request) override;

  Phase phase() const { return phase_; }
  const char* phase_text() const;
  unsigned leechers() const { return leechers_; }
  // No more FINALIZE; an application that was told to stop goes on. Before its device is taken away.
  void end();
  // Requested when a leecher has all.
  Stop& gone() { return gone_; }
  // Then: until every other leecher has heard so, for at most `patience`.
  void wait_until_told(std::chrono::milliseconds patience, const Stop& stop) const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Leecher {
    unsigned map = 0;
    std::uint32_t round = 0;
    WrittenBlocks kept;  // of that round, until the next is asked for
    Clock::time_point seen{};
  };

  // All with mutex_ held.
  Leecher& leecher_of(const wire::LeecherId& id);
  wire::MigrationReply track(const wire::LeecherId& id);
  wire::MigrationReply dirty(const wire::MigrationRequest& request);
  wire::MigrationReply finalize(const wire::MigrationRequest& request);
  wire::MigrationReply commit(const wire::MigrationRequest& request);
  wire::MigrationReply abort(const wire::MigrationRequest& request);
  wire::MigrationReply close(const wire::MigrationRequest& request);
  void take_round(Leecher& leecher, std::uint32_t round);
  void suspend();
  bool late_writers();
  void resume(const std::string& why);
  wire::MigrationReply page(const Leecher& leecher, std::uint32_t from) const;
  void record(OwnerRecord::State state);
  void drop(const wire::LeecherId& id);
  [[noreturn]] void refuse_moved(const wire::LeecherId& id);
  void make_room();
  void watch_lease();
  void tell(const std::string& event, const std::string& why = {}) const {
    if (actions_.tell) actions_.tell(event, why);
  }

  Lockable& lock_;
  Tracked& tracked_;
  Backend& region_;
  const OwnerFile& file_;
  const SeederActions actions_;
  const std::chrono::milliseconds longest_lease_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<wire::LeecherId, Leecher> list_;  // guarded by mutex_
  std::atomic<unsigned> leechers_{0};
  std::atomic<Phase> phase_{Phase::seeding};  // changed with mutex_ held
  wire::LeecherId for_{};                     // guarded by mutex_: who finalizes, or has it
  bool ending_ = false;                       // guarded by mutex_
  std::uint64_t token_ = 0;                   // guarded by mutex_
  Clock::time_point lease_end_{}, stopped_at_{};  // guarded by mutex_
  Stop gone_;
  TaskGroup threads_;  // last
};

}  // namespace r3
