// SPDX-License-Identifier: Apache-2.0
// --seed-on: the region that has come here is offered to the next leecher, and nothing about its device changes.
#pragma once

#include "libcommon/net/seed_server.hpp"
#include "tools/r3-leech/outside.hpp"

namespace r3 {

class NextSeeder {
 public:
  // Listens. Borrows everything.
  NextSeeder(Tool& tool, LeechOptions& options, Outside& outside, Lockable& lock, Tracked& tracked, Backend& region,
             const OwnerFile& file);

  // Until a leecher has all, or the stop.
  void wait() const;
  const char* phase_text() const { return seeder_.phase_text(); }
  // No more move begins; says what is still to be done, and runs --on-stop if it has moved.
  void end();

 private:
  Tool& tool_;
  LeechOptions& options_;
  Outside& outside_;
  mutable Seeder seeder_;
  std::unique_ptr<SeedServer> server_;
};

}  // namespace r3
