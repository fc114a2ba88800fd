// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/leech.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {

using namespace std::chrono_literals;
using State = OwnerRecord::State;

namespace {

constexpr auto kLook = 20ms;
constexpr auto kPause = 1000ms;    // after the seeder said no
constexpr const char* kNotTold = "the seeder does not know yet that all is here: ";
constexpr std::uint64_t kReadAhead = 8 * MiB;

}  // namespace

Leech::Leech(Tool& tool, LeechOptions& options)
    : tool_(tool), options_(options), outside_(tool, options), file_(options.state_file()) {
  options_.open.stop = &tool.stop();
  options_.open.plain = options.access.plain;
  options_.open.key_file = options.access.key_file;
  options_.open.psk_file = options.access.psk_file;
  RegionOptions here;
  here.stop = &tool.stop();
  const auto before = file_.read();
  take_up(before);
  local_ = open_region(parse_region(options.local), here);
  if (local_->read_only()) fail(EROFS, options.local);
  if (has_all_) swap_ = std::make_unique<Swap>(*local_);
  else open_regions(before);
  tracked_ = std::make_unique<Tracked>(*swap_);
  lock_ = std::make_unique<Lockable>(*tracked_, Lockable::First::closed);
}

void Leech::open_regions(const std::optional<OwnerRecord>& before) {
  const LeechOptions& options = options_;
  RegionOptions there = options_.open;
  there.read_only = true;
  remote_ = open_region(parse_region(options.remote), there);
  client_ = dynamic_cast<R3Client*>(remote_.get());
  if (!client_) fail(EOPNOTSUPP, options.remote + ": is no r3 server's");
  if (client_->size() != local_->size())
    fail(EINVAL, options.local + " has " + std::to_string(local_->size()) + " bytes, " + options.remote + " has " +
                     std::to_string(client_->size()) + ": they have to be of the same size");
  spared_ = std::make_unique<HashSpared>(*client_, *local_);
  store_ = std::make_unique<LeechStore>(*local_, file_.path().empty() ? "" : file_.path() + ".map",
                                        in_doubt_ ? LeechStore::Begin::where_it_was : LeechStore::Begin::anew);
  PullPlanOptions order = options.order;
  order.read_ahead = kReadAhead;
  plan_ = std::make_unique<PullPlan>(order, local_->size(), tool_.stop());
  source_ = std::make_unique<LeechSource>(*plan_);
  PullerOptions pull;
  pull.workers = options.pull_workers;
  pull.rate = options.pull_rate;
  pull.paused = true;  // until the seeder tracks
  leeched_ = std::make_unique<Leeched>(*spared_, *local_, *store_, *source_, pull);
  migration_ = std::make_unique<Migration>(*client_, *leeched_, *store_, *spared_, file_, before);
  approach_ = std::make_unique<Approach>(tool_, options, outside_, *migration_, *leeched_, *store_, *spared_);
  swap_ = std::make_unique<Swap>(*leeched_);
}

Leech::~Leech() {
  if (leeched_) leeched_->abandon();
}

void Leech::take_up(const std::optional<OwnerRecord>& before) {
  if (!before || before->state == State::pulling || before->state == State::gone) return;
  in_doubt_ = before->state == State::committing;
  // An r3-seed that had it since would have taken our attempt's number away.
  has_all_ = here_ = before->state == State::owner && before->leecher != wire::LeecherId{};
  if (in_doubt_ || has_all_) return;
  if (options_.device.force && before->state != State::given) return;
  fail(EBUSY, options_.local + ": " + to_text(before->state) +
                  (before->state == State::given ? "; r3-seed serves it" : "; r3-seed shows it, --force overwrites it"));
}

// All is here since the last time, but the seeder may not know it. It need not be there any more.
void Leech::go_on_as_owner() {
  const auto before = *file_.read();
  outside_.attach(*lock_);
  open();
  if (before.token != 0 && !say_farewell(before)) return;
  if (before.token == 0) log_warning(options_.local + ": was moved here before: nothing is pulled from " + options_.remote);
  outside_.phase("complete");
  if (!options_.seed_on.empty()) seed();
}

// True once the seeder knows, or is another one; false when asked to stop before.
bool Leech::say_farewell(OwnerRecord record) {
  RegionOptions there = options_.open;
  there.read_only = true;
  there.io_timeout = 5s;
  for (bool said = false;;) {
    try {
      const auto remote = open_region(parse_region(options_.remote), there);
      if (auto* client = dynamic_cast<R3Client*>(remote.get()))
        client->ask(wire::Type::close, {.leecher = record.leecher, .token = record.token});
      break;
    } catch (const std::system_error& error) {
      const int code = error.code().value();
      if (code == ESTALE || code == EOPNOTSUPP) break;
      if (!said) log_warning(kNotTold + std::string(error.what()));
      said = true;
    }
    if (tool_.stop().wait_for(kPause)) return false;
  }
  record.token = 0;
  file_.write(record);
  return true;
}

void Leech::run() {
  if (has_all_) return go_on_as_owner();
  // A connection that is asked something may have been lost: who wants to leave does not wait for it.
  const EndAfterStop limit(tool_.stop(), here_ ? options_.device.grace : 2s, [this] { client_->abandon(); });
  if (in_doubt_ && migration_->was_taken_over()) {
    here_ = true;
    outside_.attach(*lock_);
    leeched_->look_again();
    leeched_->resume();
    open();
  } else {
    approach_->begin();
    outside_.attach(*lock_);
    if (plan_->wants_hints()) hints_.spawn([this] { follow_hints(); });
    if (!move_when_right()) return;
  }
  if (wait_until_here(kLook)) finish();
}

void Leech::follow_hints() {
  try {
    plan_->follow_hints(*leeched_, hints_.stop());
  } catch (const std::exception& error) {
    log_debug(error.what());
  }
}

// True once the region is here.
bool Leech::move_when_right() {
  for (;;) {
    const auto then = approach_->wait_until_right();
    if (then == Approach::Then::stopped) return false;
    if (try_to_move(then == Approach::Then::move_when_all_is_here)) return true;
  }
}

bool Leech::try_to_move(bool all_first) {
  outside_.phase("finalizing");
  const auto unlock = [&] {
    here_ = true;
    if (all_first && !wait_until_here(2ms)) return false;
    lock_->open();
    return true;
  };
  if (!migration_->take_over(options_.lease, unlock)) {
    if (migration_->given_away() && !tool_.stop().requested())
      throw std::runtime_error(options_.remote + ": " + migration_->why());
    log_warning("not moved: " + migration_->why());
    outside_.phase("pulling", Json().add("refused", migration_->why()));
    tool_.stop().wait_for(kPause);
    return false;
  }
  if (!lock_->is_open()) return true;  // asked to stop before all was here
  downtime_ = migration_->downtime();
  open();
  return true;
}

void Leech::open() {
  lock_->open();
  outside_.phase("migrated", Json().add("downtime", downtime_.load()).add("path", outside_.path()));
  outside_.hook("--on-resume", options_.on_resume);
  tool_.ready();
}

bool Leech::wait_until_here(std::chrono::milliseconds look) {
  auto next_try = Migration::Clock::now() + kPause;
  while (!leeched_->complete()) {
    if (tool_.stop().wait_for(look)) return false;
    approach_->update();
    if (!leeched_->pulled() || Migration::Clock::now() < next_try) continue;
    if (store_->write_error() != 0)
      log_warning(options_.local + ": " + std::generic_category().message(store_->write_error()) + ": trying again");
    leeched_->look_again();
    next_try = Migration::Clock::now() + kPause;
  }
  return true;
}

void Leech::finish() {
  approach_->end_progress();
  migration_->complete();
  has_all_ = true;
  swap_->replace(*local_);
  for (;;) {
    try {
      migration_->tell_seeder_complete();
      break;
    } catch (const std::system_error& error) {
      log_warning(kNotTold + std::string(error.what()));
      if (tool_.stop().wait_for(kPause)) return;
    }
  }
  client_->abandon();
  outside_.phase("complete");
  if (!options_.seed_on.empty()) seed();
}

void Leech::seed() {
  next_ = std::make_unique<NextSeeder>(tool_, options_, outside_, *lock_, *tracked_, *local_, file_);
  seeding_ = true;
  next_->wait();
}

Json Leech::status() const {
  Json json;
  const auto size = local_->size(), present = has_all_ ? size : leeched_->present();
  json.add("size", size).add("path", outside_.path())
      .add("phase", seeding_ ? next_->phase_text() : outside_.phase()).add("present", present)
      .add("percent", size > 0 ? 100.0 * static_cast<double>(present) / static_cast<double>(size) : 100.0);
  if (!leeched_) return json;
  const auto link = leeched_->numbers();
  json.add("spared", spared_->spared()).add("missed", leeched_->missed())
      .add("rate", link.rate).add("round_trip", link.round_trip)
      .add("eta", link.rate > 0 ? static_cast<double>(size - present) / link.rate : -1.0);
  approach_->add_to(json);
  return json.add("downtime", downtime_.load()).add("last_error", leeched_->last_error());
}

void Leech::end() {
  hints_.stop().request();
  if (next_) next_->end();
  if (!lock_->is_open()) {
    lock_->refuse(ESHUTDOWN);
    if (leeched_) leeched_->abandon();
  }
  outside_.detach();
  if (here_ && !has_all_) {
    store_->sync();
    log_warning("not all is here yet: start r3-leech again to get the rest from " + options_.remote);
  }
  if (plan_) plan_->save_recording();
}

}  // namespace r3
