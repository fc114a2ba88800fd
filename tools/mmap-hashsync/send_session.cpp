// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/send_session.hpp"

#include <poll.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3::sync {

namespace {

constexpr unsigned kMostRepairs = 3;
constexpr std::chrono::seconds kTimeToSettle{10};  // then it is said that it does not

constexpr std::chrono::milliseconds kNews{200};  // a first look may be as old as that

using Clock = std::chrono::steady_clock;

}  // namespace

SendSession::SendSession(Link& link, int input, const Hasher& hasher, const std::vector<SourceSpec>& files,
                         const SendOptions& options, Report& report, SharedLooks* looks)
    : link_(link), input_(input), scan_{hasher, options.threads}, pusher_(link, hasher), options_(options),
      report_(report),
      // A shadow and the page map are about one destination.
      looks_(options.detect == Detect::shadow || options.detect == Detect::pagemap ? nullptr : looks) {
  for (const SourceSpec& spec : files)
    items_.push_back({SourceFile(spec, options.chunk, options.detect, options.writer, options.once), {}});
}

void SendSession::run(const Stop& stop) {
  first_round();
  if (options_.dry_run) return dry_run();
  commit();
  Pace pace(options_.interval, options_.most_cpu);
  bool whole = !options_.verify || verify();
  for (unsigned repairs = 0; options_.once && !whole && repairs < kMostRepairs; ++repairs) {
    round();
    whole = verify();
  }
  if (!whole && options_.once) throw std::runtime_error("the destination does not hold what it was sent");
  while (!options_.once) {
    const auto begun = Clock::now();
    const auto cpu = process_cpu_time();
    const bool changed = round();
    if (changed && options_.verify) verify();
    const auto wall = Clock::now() - begun;
    report_.last_round_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(wall).count());
    if (!wait(stop, pace.after_round(changed, wall, process_cpu_time() - cpu))) break;
  }
  pusher_.bye();
}

void SendSession::freeze() {
  frozen_ = true;
  if (options_.before) options_.before();
}

void SendSession::thaw() noexcept {
  if (!std::exchange(frozen_, false) || !options_.after) return;
  try {
    options_.after();
  } catch (...) {
    log_error(text_of_current_exception());
  }
}

// The destination hashes its copy of the next files while we hash ours.
void SendSession::compare() {
  auto announced = items_.begin();
  std::uint32_t announced_id = 0, id = 0;
  for (Item& item : items_) {
    for (; announced != items_.end() && announced_id < id + Pusher::kAhead; ++announced, ++announced_id) {
      announced->file.refresh();
      pusher_.announce(announced_id, {announced->file.geometry(), announced->file.generation(),
                                      announced->file.spec().name});
    }
    bool looked = true;
    if (looks_) looked = item.file.share(*looks_, scan_, Clock::now() - (looks_now() ? std::chrono::milliseconds(0) : kNews));
    else item.file.hash_all(scan_);
    if (looked) report_.bytes_looked_at += item.file.geometry().size;
    item.differing = pusher_.compare(id++, item.file.known());
  }
}

void SendSession::first_round() {
  freeze();
  compare();
  ++report_.rounds;
  if (options_.dry_run) return;
  std::uint32_t id = 0;
  for (Item& item : items_) {
    // A shadow has to be filled with all of it, and the page map begins to count before the look.
    const auto all = options_.detect == Detect::shadow || options_.detect == Detect::pagemap
                         ? item.file.to_look_at() : std::vector<Run>{};
    item.file.send(scan_, all.empty() ? item.differing : all, id++, pusher_);
    item.differing.clear();
  }
  if (options_.settle > 0) look_until_settled();
}

// Whether a look has to begin now: another one's, of a moment ago, is as good to who only follows the files.
bool SendSession::looks_now() const { return options_.once || options_.settle > 0 || options_.before; }

std::vector<Run> SendSession::find_changes(Item& item) {
  if (looks_) {
    bool looked = false;
    auto runs = item.file.changes(*looks_, scan_, looks_now(), looked);
    if (looked) report_.bytes_looked_at += item.file.geometry().size;
    return runs;
  }
  auto runs = item.file.to_look_at();
  for (const Run& run : runs)
    if (!run.hole) report_.bytes_looked_at += run.count * options_.chunk;
  return runs;
}

std::uint64_t SendSession::look() {
  std::uint64_t sent = 0;
  std::uint32_t id = 0;
  for (Item& item : items_) sent += item.file.send(scan_, find_changes(item), id++, pusher_);
  pending_ |= sent > 0;
  return sent;
}

// True if anything was sent. What never settles is sent all the same, for a copy that stands still helps nobody.
bool SendSession::look_until_settled() {
  const auto late = Clock::now() + kTimeToSettle;
  bool any = look() > 0;
  for (unsigned quiet = any ? 0 : 1; quiet < options_.settle;) {
    const bool sent = look() > 0;
    any |= sent;
    quiet = sent ? 0 : quiet + 1;
    if (Clock::now() > late) {
      log_warning("the files do not settle: this epoch may hold halves of changes");
      break;
    }
  }
  return any;
}

bool SendSession::round() {
  freeze();
  std::uint32_t id = 0;
  for (Item& item : items_) {
    if (item.file.refresh()) {
      pusher_.resize(id, item.file.geometry().size, item.file.generation());
      pending_ = true;
    }
    ++id;
  }
  look_until_settled();
  ++report_.rounds;
  const bool changed = pending_;
  if (changed) commit();
  thaw();
  return changed;
}

void SendSession::commit() {
  std::uint32_t id = 0;
  for (Item& item : items_) {
    if (item.file.refresh_if_shorter())
      pusher_.resize(id, item.file.geometry().size, item.file.generation());
    ++id;
  }
  thaw();
  const auto before = pusher_.chunks_sent();
  const auto epoch = pusher_.epoch();
  pusher_.commit();
  pending_ = false;
  ++report_.epochs;
  report_.chunks += pusher_.chunks_sent() - before;
  if (options_.on_epoch) options_.on_epoch(epoch, pusher_.chunks_sent() - before);
}

// False if the destination holds something else; the next round sends it again.
bool SendSession::verify() {
  bool whole = true;
  std::uint32_t id = 0;
  for (Item& item : items_) {
    std::uint64_t wrong = 0;
    for (const Run& run : pusher_.verify(id++, item.file.known())) wrong += run.count;
    if (wrong == 0) continue;
    whole = false;
    report_.mismatches += wrong;
    item.file.distrust();
    log_warning(item.file.spec().name + ": " + std::to_string(wrong) +
                " chunks are not what was sent: they are sent again");
  }
  return whole;
}

void SendSession::dry_run() {
  for (const Item& item : items_)
    for (const Run& run : item.differing) report_.chunks += run.count;
  thaw();
  pusher_.bye(true);
}

// False when the stop was requested. The destination says nothing by itself but that it is leaving.
bool SendSession::wait(const Stop& stop, std::chrono::milliseconds time) {
  switch (wait_for(input_, POLLIN, stop, static_cast<int>(time.count()))) {
    case Wait::stopped: return false;
    case Wait::ready: link_.receive(Type::error); break;
    case Wait::timed_out: break;
  }
  return true;
}

}  // namespace r3::sync
