// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/approach.hpp"

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

using namespace std::chrono_literals;

namespace {

constexpr auto kLook = 20ms;  // how often it is asked whether it is time

double seconds(std::chrono::milliseconds time) { return std::chrono::duration<double>(time).count(); }

const char* to_text(Rhythm::State state) {
  switch (state) {
    case Rhythm::State::unknown: return "unknown";
    case Rhythm::State::steady: return "steady";
    case Rhythm::State::quiet: return "quiet";
    case Rhythm::State::busy: return "busy";
  }
  return "";
}

}  // namespace

Approach::Approach(Tool& tool, const LeechOptions& options, Outside& outside, Migration& migration, Leeched& region,
                   LeechStore& store, HashSpared& spared)
    : tool_(tool), options_(options), outside_(outside), migration_(migration), region_(region), store_(store),
      spared_(spared), progress_(std::make_unique<Progress>("pulling", region.size(), tool.events())),
      decision_({seconds(options.max_downtime), seconds(options.max_time), seconds(options.quiet_wait)}) {}

void Approach::begin() {
  region_.pause();
  migration_.begin();
  region_.invalidate_all();
  spared_.begin();
  region_.resume();
  outside_.phase("pulling");
}

double Approach::now() const {
  return std::chrono::duration<double>(Migration::Clock::now() - started_).count();
}

Approach::Then Approach::wait_until_right() {
  while (!tool_.stop().wait_for(kLook)) {
    try {
      if (const auto then = one_look()) return *then;
    } catch (const std::system_error& error) {
      if (error.code().value() == ESHUTDOWN && !tool_.stop().requested())
        throw std::runtime_error(options_.remote + ": the region was given to another leecher, or its seeder ends");
      if (error.code().value() != ESTALE) throw;
      log_warning("the seeder was started again: what is here is compared with it");
      begin();  // throws if it is another region
    }
  }
  migration_.give_up();
  return Then::stopped;
}

std::optional<Approach::Then> Approach::one_look() {
  update();
  check_room();
  listen();
  const bool reached = percent_reached();
  if (asked_.exchange(false) || reached) {
    percent_tried_ = percent_tried_ || reached;
    return Then::move;
  }
  if (!region_.complete()) return {};
  spared_.end();  // what comes again has changed
  if (options_.finalize == "auto" && (options_.finalize_at == 0 || percent_tried_)) return decide();
  if (written_ > 0) do_round();
  return {};
}

bool Approach::percent_reached() const {
  const auto size = region_.size() / 4096, present = region_.present() / 4096;
  return options_.finalize_at > 0 && !percent_tried_ && present * 100 >= size * options_.finalize_at;
}

// What the seeder's application writes, and what moving now would cost.
void Approach::listen() {
  const auto writes = migration_.writes();
  written_ = writes.bytes;
  rhythm_.look(now(), writes.changed);
  expected_ = decision_.expected_downtime(written_ + region_.size() - region_.present());
  dirty_rate_ = rhythm_.rate();
  writes_ = rhythm_.state();
  busy_ = rhythm_.length(Rhythm::State::busy);
  quiet_ = rhythm_.length(Rhythm::State::quiet);
}

std::optional<Approach::Then> Approach::decide() {
  switch (decision_.next(written_, now(), rhythm_)) {
    case Decision::Step::move: return Then::move;
    case Decision::Step::round: do_round(); return {};
    case Decision::Step::hold: return {};
    case Decision::Step::timeout: return on_timeout();
  }
  return {};
}

void Approach::do_round() {
  const auto bytes = migration_.round();
  for (auto look = 0ms; !region_.complete() && !asked_; look += 5ms) {
    if (tool_.stop().wait_for(5ms)) return;
    check_room();
    if (look % kLook == 0ms) listen();
  }
  update();
  decision_.pulled_again(bytes, now());
  rounds_ = decision_.rounds();
  tool_.events().send(Json().add("event", "dirty").add("round", std::uint64_t{decision_.rounds()}).add("bytes", bytes)
                          .add("rate", dirty_rate_.load()).add("expected_downtime", expected_.load()));
}

std::optional<Approach::Then> Approach::on_timeout() const {
  switch (options_.timeout_policy()) {
    case OnTimeout::cancel:
      migration_.give_up();
      throw std::runtime_error("cancelled: the application writes faster than it can be pulled, or --max-time is over");
    case OnTimeout::force: return Then::move_when_all_is_here;
    case OnTimeout::postcopy: return Then::move;
  }
  return {};
}

void Approach::update() {
  if (progress_) progress_->update(region_.present());
  const auto link = region_.numbers();
  decision_.link(link.rate, link.round_trip);
}

void Approach::check_room() const {
  if (store_.write_error() == 0 || !region_.pulled() || region_.complete()) return;
  migration_.give_up();
  fail(store_.write_error(), options_.local + ": it cannot be kept here");
}

void Approach::add_to(Json& status) const {
  status.add("rounds", std::uint64_t{rounds_}).add("dirty_rate", dirty_rate_.load())
      .add("writes", to_text(writes_)).add("busy_phase", busy_.load()).add("quiet_phase", quiet_.load())
      .add("expected_downtime", expected_.load());
}

}  // namespace r3
