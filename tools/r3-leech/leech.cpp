// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/leech.hpp"

#include <poll.h>

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/cli/hook.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {

using namespace std::chrono_literals;
using State = OwnerRecord::State;

namespace {

constexpr auto kLook = 20ms;       // how often it is asked whether it is time
constexpr auto kPause = 1000ms;    // after the seeder said no
constexpr const char* kNotTold = "the seeder does not know yet that all is here: ";
constexpr std::uint64_t kReadAhead = 8 * MiB;

double seconds_since(Migration::Clock::time_point start) {
  return std::chrono::duration<double>(Migration::Clock::now() - start).count();
}

}  // namespace

Leech::Leech(Tool& tool, LeechOptions& options)
    : tool_(tool), options_(options), file_(options.state_file()),
      decision_({std::chrono::duration<double>(options.max_downtime).count(),
                 std::chrono::duration<double>(options.max_time).count()}) {
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

void Leech::hook(const char* option, const std::string& command) const {
  try {
    run_hook({option, command}, {"R3_PATH=" + (device_ ? device_->path() : std::string())},
             options_.hook_timeout);
  } catch (const std::exception& error) {
    log_error(error.what());
    tool_.events().send(Json().add("event", "error").add("error", error.what()));
  }
}

void Leech::phase(const char* name, const Json& more) {
  phase_ = name;
  tool_.events().send(Json().add("event", name).add_all(more));
}

void Leech::attach() {
  if (options_.driver == "none") return;
  options_.device.on_ended = [this] { tool_.stop().request(); };
  device_ = attach_device(options_.driver, *lock_, options_.device);
  if (!tool_.json()) tool_.print(device_->path());
  tool_.events().send(Json().add("event", "attached").add("path", device_->path()).add("size", local_->size()));
}

void Leech::begin() {
  leeched_->pause();
  migration_->begin();
  leeched_->invalidate_all();
  spared_->begin();
  leeched_->resume();
  phase("pulling");
}

// All is here since the last time, but the seeder may not know it. It need not be there any more.
void Leech::go_on_as_owner() {
  const auto before = *file_.read();
  attach();
  open();
  if (before.token != 0 && !say_farewell(before)) return;
  if (before.token == 0) log_warning(options_.local + ": was moved here before: nothing is pulled from " + options_.remote);
  phase("complete");
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
  progress_ = std::make_unique<Progress>("pulling", local_->size(), tool_.events());
  if (in_doubt_ && migration_->was_taken_over()) {
    here_ = true;
    attach();
    leeched_->look_again();
    leeched_->resume();
    open();
  } else {
    begin();
    attach();
    if (plan_->wants_hints())
      hints_.spawn([this] {
        try {
          plan_->follow_hints(*leeched_, hints_.stop());
        } catch (const std::exception& error) {
          log_debug(error.what());
        }
      });
    if (!move_when_right()) return;
  }
  if (wait_until_here(kLook)) finish();
}

void Leech::update() {
  progress_->update(leeched_->present());
  const auto link = leeched_->numbers();
  decision_.link(link.rate, link.round_trip);
}

void Leech::check_room() const {
  if (store_->write_error() == 0 || !leeched_->pulled() || leeched_->complete()) return;
  migration_->give_up();
  fail(store_->write_error(), options_.local + ": it cannot be kept here");
}

bool Leech::move_when_right() {
  while (!tool_.stop().wait_for(kLook)) {
    try {
      if (one_look()) return true;
    } catch (const std::system_error& error) {
      if (error.code().value() == ESHUTDOWN && !tool_.stop().requested())
        throw std::runtime_error(options_.remote + ": the region was given to another leecher, or its seeder ends");
      if (error.code().value() != ESTALE) throw;
      log_warning("the seeder was started again: what is here is compared with it");
      begin();  // throws if it is another region
    }
  }
  migration_->give_up();
  return false;
}

// True once the region is here.
bool Leech::one_look() {
  update();
  check_room();
  const auto percent = options_.finalize_at;
  const bool reached = percent > 0 && !percent_tried_ && 
                       leeched_->present() / 4096 * 100 >= local_->size() / 4096 * percent;
  if (asked_.exchange(false) || reached) {
    percent_tried_ = true;
    return try_to_move(false);
  }
  if (!leeched_->complete()) return false;
  spared_->end();  // what comes again has changed
  if (options_.finalize == "ask" || percent > 0) {
    if (migration_->written() > 0 || percent > 0) {
      if (percent > 0) return decide();
      do_round();
    }
    return false;
  }
  return decide();
}

bool Leech::decide() {
  const auto written = migration_->written();
  expected_ = decision_.expected_downtime(written);
  switch (decision_.next(written, seconds_since(started_))) {
    case Decision::Step::move: return try_to_move(false);
    case Decision::Step::round: do_round(); return false;
    case Decision::Step::timeout: return on_timeout();
  }
  return false;
}

bool Leech::do_round() {
  const auto start = Migration::Clock::now();
  const auto bytes = migration_->round();
  while (!leeched_->complete() && !asked_) {
    if (tool_.stop().wait_for(5ms)) return false;
    check_room();
  }
  update();
  decision_.pulled_again(bytes, seconds_since(start));
  rounds_ = decision_.rounds();
  dirty_rate_ = decision_.dirty_rate();
  tool_.events().send(Json().add("event", "dirty").add("round", std::uint64_t{decision_.rounds()})
                          .add("bytes", bytes).add("rate", decision_.dirty_rate())
                          .add("expected_downtime", expected_.load()));
  return true;
}

bool Leech::on_timeout() {
  switch (options_.timeout_policy()) {
    case OnTimeout::cancel:
      migration_->give_up();
      throw std::runtime_error("cancelled: the application writes faster than it can be pulled, or --max-time is over");
    case OnTimeout::force: return try_to_move(true);
    case OnTimeout::postcopy: return try_to_move(false);
  }
  return false;
}

bool Leech::try_to_move(bool all_first) {
  phase("finalizing");
  const auto unlock = [&] {
    here_ = true;
    if (all_first && !wait_until_here(2ms)) return false;
    lock_->open();
    return true;
  };
  if (!migration_->take_over(options_.lease, unlock)) {
    log_warning("not moved: " + migration_->why());
    phase("pulling", Json().add("refused", migration_->why()));
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
  phase("migrated", Json().add("downtime", downtime_.load()).add("path", device_ ? device_->path() : ""));
  hook("--on-resume", options_.on_resume);
  tool_.ready();
}

bool Leech::wait_until_here(std::chrono::milliseconds look) {
  auto next_try = Migration::Clock::now() + kPause;
  while (!leeched_->complete()) {
    if (tool_.stop().wait_for(look)) return false;
    update();
    if (!leeched_->pulled() || Migration::Clock::now() < next_try) continue;
    if (store_->write_error() != 0)
      log_warning(options_.local + ": " + std::generic_category().message(store_->write_error()) + ": trying again");
    leeched_->look_again();
    next_try = Migration::Clock::now() + kPause;
  }
  return true;
}

void Leech::finish() {
  progress_.reset();
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
  phase("complete");
  if (!options_.seed_on.empty()) seed();
}

void Leech::seed() {
  SeederActions actions;
  actions.suspend = [this] {
    run_hook({"--on-suspend", options_.on_suspend}, {"R3_PATH=" + (device_ ? device_->path() : std::string())},
             options_.hook_timeout);
  };
  actions.resume = [this] { hook("--on-resume", options_.on_resume); };
  actions.sync_device = [this] { if (device_) device_->flush(); };
  actions.tell = [this](const std::string& event, const std::string& why) {
    Json json;
    json.add("event", event);
    tool_.events().send(why.empty() ? json : json.add("why", why));
  };
  seeder_ = std::make_unique<Seeder>(*lock_, *tracked_, *local_, file_, actions, 30s);
  server_ = std::make_unique<SeedServer>(*local_, *seeder_, file_.path().empty(), options_.access, options_.seed_on);
  for (const auto& address : server_->addresses())
    tool_.events().send(Json().add("event", "listening").add("address", address));
  phase("seeding");
  if (wait_for(seeder_->gone().fd(), POLLIN, tool_.stop()) == Wait::ready) tool_.stop().request();
}

Json Leech::status() const {
  Json json;
  if (!leeched_)
    return json.add("size", local_->size()).add("path", device_ ? device_->path() : "")
        .add("phase", seeder_ ? seeder_->phase_text() : phase_.load()).add("percent", 100.0);
  const auto link = leeched_->numbers();
  const auto size = local_->size(), present = has_all_ ? size : leeched_->present();
  json.add("size", size).add("path", device_ ? device_->path() : "")
      .add("phase", seeder_ ? seeder_->phase_text() : phase_.load()).add("present", present)
      .add("percent", size > 0 ? 100.0 * static_cast<double>(present) / static_cast<double>(size) : 100.0)
      .add("spared", spared_->spared()).add("missed", leeched_->missed())
      .add("rate", link.rate).add("round_trip", link.round_trip)
      .add("eta", link.rate > 0 ? static_cast<double>(size - present) / link.rate : -1.0)
      .add("rounds", std::uint64_t{rounds_}).add("dirty_rate", dirty_rate_.load())
      .add("expected_downtime", expected_.load()).add("downtime", downtime_.load())
      .add("last_error", leeched_->last_error());
  return json;
}

void Leech::end() {
  hints_.stop().request();
  if (seeder_) {
    seeder_->end();
    const bool gone = seeder_->phase() == Seeder::Phase::gone;
    if (seeder_->phase() == Seeder::Phase::given)
      log_warning("the leecher does not have all yet: start r3-seed with this region, or what it lacks is lost");
    server_.reset();
    if (gone) hook("--on-stop", options_.on_stop);
  }
  if (!lock_->is_open()) {
    lock_->refuse(ESHUTDOWN);
    if (leeched_) leeched_->abandon();
  }
  if (device_) device_->detach();
  device_.reset();
  if (here_ && !has_all_) {
    store_->sync();
    log_warning("not all is here yet: start r3-leech again to get the rest from " + options_.remote);
  }
  if (plan_) plan_->save_recording();
}

}  // namespace r3
