// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/migration.hpp"

#include <sys/random.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

using namespace wire;

namespace {

void draw(LeecherId& id) {
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) fail(errno, "getrandom");
}

std::string reason_of(int error) {
  switch (error) {
    case EAGAIN: return "the application did not stop, or wrote after it was told to";
    case EBUSY: return "another leecher finalizes";
    case ESHUTDOWN: return "the region was given to another leecher, or the seeder ends";
    case ESTALE: return "the seeder does not know this leecher any more, or its lease ran out";
    default: return std::generic_category().message(error);
  }
}

}  // namespace

Migration::Migration(R3Client& seeder, Leeched& region, LeechStore& store, HashSpared& spared,
                     const OwnerFile& file, const std::optional<OwnerRecord>& before)
    : seeder_(seeder), region_(region), store_(store), spared_(spared), file_(file) {
  if (!before || before->state == OwnerRecord::State::pulling || before->state == OwnerRecord::State::gone) return;
  id_ = before->leecher;
  token_ = before->token;
}

void Migration::record(OwnerRecord::State state) { file_.write({state, region_.size(), id_, token_}); }

void Migration::begin() {
  draw(id_);  // another one each time: answers to an older attempt are not taken for this one's
  token_ = 0;
  round_ = 0;
  record(OwnerRecord::State::pulling);
  seeder_.ask(Type::track, {.leecher = id_});
}

WrittenBlocks Migration::pages(Type type, MigrationRequest request, MigrationReply& first) {
  first = seeder_.ask(type, request);
  WrittenBlocks all = std::move(first.blocks);
  for (auto next = first.next; next != 0;) {
    request.from = next;
    auto page = seeder_.ask(Type::dirty, request);
    all.insert(all.end(), page.blocks.begin(), page.blocks.end());
    next = page.next;
  }
  return all;
}

std::uint64_t Migration::round() {
  MigrationReply reply;
  const auto blocks = pages(Type::dirty, {.leecher = id_, .round = round_ + 1}, reply);
  round_ = reply.round;  // the last one again, while the seeder is suspended for somebody else
  region_.invalidate(blocks);
  return count_blocks(blocks) * kTrackedBlock;
}

Migration::Writes Migration::writes() {
  const auto reply = seeder_.ask(Type::dirty, {.leecher = id_, .flags = kPeek});
  return {reply.written * kTrackedBlock, reply.changed};
}

// Nothing is on its way while the seeder answers: neither do bytes stand in the answer's way, nor do any
// come that were read too early.
bool Migration::take_over(std::chrono::milliseconds lease, const std::function<bool()>& open) {
  // While the application still runs, so that this side has nothing to make durable when it stands still.
  store_.sync();
  token_ = 0;
  record(OwnerRecord::State::committing);
  store_.distrust();
  region_.pause();
  MigrationReply reply;
  const auto asked = Clock::now();
  try {
    const auto blocks = pages(Type::finalize, {.leecher = id_, .round = round_ + 1,
                                               .lease = static_cast<std::uint32_t>(lease.count())}, reply);
    round_ = reply.round;
    region_.invalidate(blocks);
  } catch (const std::system_error& error) {
    why_ = reason_of(error.code().value());
    given_away_ = error.code().value() == ESHUTDOWN;
    region_.resume();
    return false;
  }
  const auto answered = Clock::now();
  spared_.end();
  token_ = reply.token;
  const bool mine = commit();  // before the rest: its answer is not to stand behind that on a slow link
  region_.resume();
  if (!mine) return false;
  if (!open()) return true;
  const std::chrono::duration<double> here = Clock::now() - answered;
  const std::chrono::duration<double> way = answered - asked;
  downtime_ = here.count() + std::min(static_cast<double>(reply.stopped) / 1e6, way.count());
  return true;
}

bool Migration::commit() {
  try {
    token_ = seeder_.ask(Type::commit, {.leecher = id_, .token = token_}).token;
    return true;
  } catch (const std::system_error& error) {
    // Anything else than a plain no leaves it open.
    const int code = error.code().value();
    if (code != ESTALE && code != EAGAIN) throw;
    why_ = reason_of(code);
    token_ = 0;
    record(OwnerRecord::State::pulling);
    return false;
  }
}

bool Migration::was_taken_over() {
  spared_.end();
  return commit();
}

void Migration::complete() {
  store_.sync();
  record(OwnerRecord::State::owner);
}

void Migration::tell_seeder_complete() {
  seeder_.ask(Type::close, {.leecher = id_, .token = token_});
  token_ = 0;
  record(OwnerRecord::State::owner);
}

void Migration::give_up() noexcept {
  try {
    seeder_.ask(Type::close, {.leecher = id_});
  } catch (const std::exception& error) {
    log_debug(error.what());
  }
}

}  // namespace r3
