// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/next_seeder.hpp"

#include <poll.h>

#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

constexpr std::chrono::seconds kLease{30};
constexpr std::chrono::seconds kFarewell{2};  // for other leechers to hear that the region is gone

}  // namespace

NextSeeder::NextSeeder(Tool& tool, LeechOptions& options, Outside& outside, Lockable& lock, Tracked& tracked,
                       Backend& region, const OwnerFile& file)
    : tool_(tool), options_(options), outside_(outside),
      seeder_(lock, tracked, region, file, outside.seeder_actions(), kLease),
      server_(std::make_unique<SeedServer>(region, seeder_, file.path().empty(), options.access, options.seed_on)) {
  for (const auto& address : server_->addresses())
    tool_.events().send(Json().add("event", "listening").add("address", address));
  outside_.phase("seeding");
}

void NextSeeder::wait() const {
  if (wait_for(seeder_.gone().fd(), POLLIN, tool_.stop()) != Wait::ready) return;
  seeder_.wait_until_told(kFarewell, tool_.stop());
  tool_.stop().request();
}

void NextSeeder::end() {
  seeder_.end();
  const auto phase = seeder_.phase();
  if (phase == Seeder::Phase::given)
    log_warning("the leecher does not have all yet: start r3-seed with this region, or what it lacks is lost");
  server_.reset();
  if (phase == Seeder::Phase::gone) outside_.hook("--on-stop", options_.on_stop);
}

}  // namespace r3
