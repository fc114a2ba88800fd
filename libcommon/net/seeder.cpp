// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/seeder.hpp"

#include <sys/random.h>

#include <algorithm>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

using namespace wire;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kShortestLease{1000};
constexpr std::chrono::minutes kForgottenAfter{1};  // a leecher that says nothing, when others need its map

std::uint64_t random_token() {
  std::uint64_t token = 0;
  while (token == 0)
    if (::getrandom(&token, sizeof token, 0) != sizeof token) fail(errno, "getrandom");
  return token;
}

}  // namespace

Seeder::Seeder(Lockable& lock, Tracked& tracked, Backend& region, const OwnerFile& file,
               SeederActions actions, milliseconds longest_lease)
    : lock_(lock), tracked_(tracked), region_(region), file_(file), actions_(std::move(actions)),
      longest_lease_(longest_lease) {
  const auto found = file_.read();
  const auto state = found ? found->state : OwnerRecord::State::owner;
  switch (state) {
    case OwnerRecord::State::owner: break;
    case OwnerRecord::State::suspended:
      record(OwnerRecord::State::owner);
      actions_.resume();
      tell("resumed", "the seeder was started again");
      break;
    case OwnerRecord::State::given:
      for_ = found->leecher;
      token_ = found->token;
      phase_ = Phase::given;
      lock_.refuse(ESHUTDOWN);
      break;
    default: fail(EBUSY, file_.path() + ": " + to_text(state));
  }
  if (found && found->size != region_.size())
    fail(EINVAL, file_.path() + ": belongs to a region of " + std::to_string(found->size) + " bytes");
  if (phase_ == Phase::seeding) record(OwnerRecord::State::owner);
  threads_.spawn([this] { watch_lease(); });
}

Seeder::~Seeder() {
  threads_.stop().request();
  changed_.notify_all();
}

void Seeder::end() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  if (phase_ == Phase::suspended) resume("the seeder ends");
}

const char* Seeder::phase_text() const {
  switch (phase_) {
    case Phase::seeding: return leechers_ > 0 ? "tracking" : "seeding";
    case Phase::suspended: return "finalizing";
    case Phase::given: return "given";
    case Phase::gone: return "gone";
  }
  return "";
}

MigrationReply Seeder::answer(Type type, const MigrationRequest& request) {
  const std::lock_guard lock(mutex_);
  switch (type) {
    case Type::track: return track(request.leecher);
    case Type::dirty: return dirty(request);
    case Type::finalize: return finalize(request);
    case Type::commit: return commit(request);
    case Type::abort: return abort(request);
    case Type::close: return close(request);
    default: fail(EOPNOTSUPP, "migration");
  }
}

void Seeder::record(OwnerRecord::State state) {
  file_.write({state, region_.size(), for_, token_});
}

Seeder::Leecher& Seeder::leecher_of(const LeecherId& id) {
  const auto found = list_.find(id);
  if (found == list_.end()) fail(ESTALE, "not tracked");
  found->second.seen = Clock::now();
  return found->second;
}

void Seeder::drop(const LeecherId& id) {
  const auto found = list_.find(id);
  if (found == list_.end()) return;
  tracked_.untrack(found->second.map);
  list_.erase(found);
  leechers_ = static_cast<unsigned>(list_.size());
}

// It knows now, and is not waited for.
void Seeder::refuse_moved(const LeecherId& id) {
  drop(id);
  fail(ESHUTDOWN, "moved");
}

void Seeder::wait_until_told(milliseconds patience, const Stop& stop) const {
  const auto until = Clock::now() + patience;
  while (leechers_ > 0 && Clock::now() < until)
    if (stop.wait_for(milliseconds(5))) return;
}

// The one that has said nothing for the longest time gives its map up.
void Seeder::make_room() {
  if (list_.size() < Tracked::kMostMaps) return;
  const auto oldest = std::ranges::min_element(
      list_, {}, [](const auto& one) { return one.second.seen; });
  if (Clock::now() - oldest->second.seen < kForgottenAfter) fail(EBUSY, "too many leechers");
  drop(oldest->first);
}

// Repeated: from the beginning, for a leecher that was started again.
MigrationReply Seeder::track(const LeecherId& id) {
  if (phase_ >= Phase::given) refuse_moved(id);
  if (phase_ == Phase::suspended && for_ == id) resume("the leecher began again");
  drop(id);
  make_room();
  list_[id] = {tracked_.track(), 0, {}, Clock::now()};
  leechers_ = static_cast<unsigned>(list_.size());
  tell("tracking");
  return {};
}

// The answer to the last round may have been lost: it is kept until the next is asked for.
void Seeder::take_round(Leecher& leecher, std::uint32_t round) {
  if (round != leecher.round && round != leecher.round + 1) fail(ESTALE, "round");
  auto taken = tracked_.take(leecher.map);
  if (round == leecher.round) merge_blocks(leecher.kept, taken);
  else leecher.kept = std::move(taken);
  leecher.round = round;
}

MigrationReply Seeder::page(const Leecher& leecher, std::uint32_t from) const {
  MigrationReply reply;
  reply.round = leecher.round;
  reply.written = count_blocks(leecher.kept);
  const auto begin = std::ranges::lower_bound(leecher.kept, from, {}, &WrittenGroup::group);
  const auto left = static_cast<std::size_t>(leecher.kept.end() - begin);
  const auto end = begin + static_cast<std::ptrdiff_t>(std::min(left, kMaxWrittenGroups));
  reply.blocks.assign(begin, end);
  if (end != leecher.kept.end()) reply.next = end->group;
  return reply;
}

MigrationReply Seeder::dirty(const MigrationRequest& request) {
  if (phase_ >= Phase::given && for_ != request.leecher) refuse_moved(request.leecher);
  Leecher& leecher = leecher_of(request.leecher);
  if (request.flags & kPeek) {
    MigrationReply reply;
    reply.round = leecher.round;
    reply.written = tracked_.written(leecher.map);
    reply.changed = tracked_.changed();
    return reply;
  }
  // Later pages are of what was taken with the first.
  if (request.from == 0 && phase_ == Phase::seeding) take_round(leecher, request.round);
  return page(leecher, request.from);
}

void Seeder::suspend() {
  actions_.sync_device();  // most of it while the application still runs
  region_.flush();
  record(OwnerRecord::State::suspended);
  stopped_at_ = Clock::now();
  try {
    actions_.suspend();
    actions_.sync_device();
    lock_.close();
    region_.flush();
  } catch (...) {
    log_error(text_of_current_exception());
    phase_ = Phase::suspended;
    resume("it could not be stopped");
    fail(EAGAIN, "suspend");
  }
}

MigrationReply Seeder::finalize(const MigrationRequest& request) {
  if (phase_ >= Phase::given || ending_) refuse_moved(request.leecher);
  Leecher& leecher = leecher_of(request.leecher);
  if (phase_ == Phase::suspended && for_ != request.leecher) fail(EBUSY, "another leecher finalizes");
  if (phase_ == Phase::seeding) {
    if (request.round != leecher.round && request.round != leecher.round + 1) fail(ESTALE, "round");
    for_ = request.leecher;
    token_ = random_token();
    tell("finalizing");
    suspend();
    take_round(leecher, request.round);
    phase_ = Phase::suspended;
    lease_end_ = Clock::now() + std::clamp(milliseconds(request.lease), kShortestLease,
                                           std::max(kShortestLease, longest_lease_));
    changed_.notify_all();
  }
  MigrationReply reply = page(leecher, request.from);
  reply.token = token_;
  const auto now = Clock::now();
  reply.lease = static_cast<std::uint32_t>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<milliseconds>(lease_end_ - now).count()));
  reply.stopped = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(now - stopped_at_).count());
  return reply;
}

// Whether somebody has changed the region since it was blocked: by a call, which waits, or through a
// mapping, which the kernel has to write out first.
bool Seeder::late_writers() {
  if (lock_.waiting_changes() > 0) return true;
  std::atomic<bool> done{false};
  std::exception_ptr error;
  std::thread sync([&] {
    try {
      actions_.sync_device();
    } catch (...) {
      error = std::current_exception();
    }
    done = true;
    lock_.bell().ring();
  });
  for (;;) {
    const auto rings = lock_.bell().rings();
    if (done || lock_.waiting_changes() > 0) break;
    lock_.bell().wait(rings);
  }
  const bool late = lock_.waiting_changes() > 0;
  if (late) lock_.open();  // else what is written out would wait for us
  sync.join();
  return late || error != nullptr;
}

MigrationReply Seeder::commit(const MigrationRequest& request) {
  if (phase_ >= Phase::given) {
    // One that was started again asks without a token whether it has the region.
    if ((request.token != token_ && request.token != 0) || request.leecher != for_) fail(ESTALE, "token");
  } else {
    if (phase_ != Phase::suspended || request.token != token_ || request.leecher != for_)
      fail(ESTALE, "token");
    if (late_writers()) {
      log_warning("the application wrote after it was told to stop: it is not moved");
      resume("it wrote after it was told to stop");
      fail(EAGAIN, "late write");
    }
    try {
      record(OwnerRecord::State::given);
    } catch (...) {
      // It may say so or not: who asks again after the next start is told what it says.
      log_error(text_of_current_exception());
      resume("the record could not be written");
      fail(EIO, "record");
    }
    phase_ = Phase::given;
    lock_.refuse(ESHUTDOWN);
    changed_.notify_all();
    tell("migrated");
  }
  MigrationReply reply;
  reply.token = token_;
  return reply;
}

MigrationReply Seeder::abort(const MigrationRequest& request) {
  if (phase_ >= Phase::given && for_ == request.leecher) fail(ESHUTDOWN, "moved");
  if (phase_ == Phase::suspended && for_ == request.leecher) resume("the leecher gave up");
  return {};
}

MigrationReply Seeder::close(const MigrationRequest& request) {
  if (phase_ < Phase::given) {
    if (phase_ == Phase::suspended && for_ == request.leecher) resume("the leecher left");
    drop(request.leecher);
    return {};
  }
  if (request.token != token_ || request.leecher != for_) fail(ESTALE, "token");
  if (phase_ == Phase::given) {
    record(OwnerRecord::State::gone);
    phase_ = Phase::gone;
    drop(for_);
    tell("closed");
    gone_.request();
  }
  return {};
}

void Seeder::resume(const std::string& why) {
  phase_ = Phase::seeding;
  token_ = 0;
  for_ = {};
  try {
    record(OwnerRecord::State::owner);
  } catch (...) {
    log_warning(text_of_current_exception());  // "suspended" means the same after the next start
  }
  lock_.open();
  actions_.resume();
  tell("resumed", why);
  changed_.notify_all();
}

void Seeder::watch_lease() {
  std::unique_lock lock(mutex_);
  while (!threads_.stop().requested()) {
    if (phase_ != Phase::suspended) changed_.wait_for(lock, milliseconds(200));
    else if (Clock::now() >= lease_end_) resume("no COMMIT came in time");
    else changed_.wait_until(lock, std::min(lease_end_, Clock::now() + milliseconds(200)));
  }
}

}  // namespace r3
