// SPDX-License-Identifier: Apache-2.0
// The leecher's side of a migration, step by step as r3-protocol(7), MIGRATION has it; its rules are proven
// in tests/model/migration.pml and tracking.pml. Knows the seeder by its answers, the region by what was
// pulled of it; not when it is best to move (decision.hpp).
#pragma once

#include <functional>
#include <string>

#include "libcommon/net/hash_spared.hpp"
#include "libcommon/net/r3_migration.hpp"
#include "libcommon/storage/leeched.hpp"
#include "libcommon/storage/owner_record.hpp"

namespace r3 {

class Migration {
 public:
  using Clock = std::chrono::steady_clock;

  // Borrows everything. `before`: what the record said at the start.
  Migration(R3Client& seeder, Leeched& region, LeechStore& store, HashSpared& spared, const OwnerFile& file,
            const std::optional<OwnerRecord>& before);

  // The seeder tracks from now on what is written there; what was pulled before does not count.
  void begin();
  // Takes what was written since the last round: it is pulled again. Returns how many bytes that is.
  std::uint64_t round();
  struct Writes {
    std::uint64_t bytes = 0;    // of blocks that were written since the last round
    std::uint64_t changed = 0;  // of all writes since the seeder began, each time anew; 0: an old seeder
  };
  Writes writes();
  // FINALIZE and COMMIT. True: the region is here, and `open` was called as soon as it was: it returns
  // whether the application can go on, which ends the downtime. False: the seeder keeps it and says
  // why(); begin() or round() goes on. Until COMMIT is answered, whatever happens, this waits for the
  // answer: nobody else knows it.
  bool take_over(std::chrono::milliseconds lease, const std::function<bool()>& open);
  // After a start in the middle of that: whether the region is here.
  bool was_taken_over();
  // All is here and durable: the seeder may go. Throws what the local region says.
  void complete();
  void tell_seeder_complete();
  // The seeder need not track any more, nor wait.
  void give_up() noexcept;

  const std::string& why() const { return why_; }
  // The seeder has said so, and may be gone before it is asked again.
  bool given_away() const { return given_away_; }
  double downtime() const { return downtime_; }  // seconds, of the last take_over()

 private:
  void record(OwnerRecord::State state);
  WrittenBlocks pages(wire::Type type, wire::MigrationRequest request, wire::MigrationReply& first);
  bool commit();

  R3Client& seeder_;
  Leeched& region_;
  LeechStore& store_;
  HashSpared& spared_;
  const OwnerFile& file_;
  wire::LeecherId id_{};
  std::uint64_t token_ = 0;
  std::uint32_t round_ = 0;
  std::string why_;
  bool given_away_ = false;
  double downtime_ = 0;
};

}  // namespace r3
