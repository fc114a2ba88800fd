// SPDX-License-Identifier: Apache-2.0
// The part of a slot that the leader does while there is a connection: it receives for all who wait, and asks a
// silent server for a sign of life.
#include <poll.h>

#include <algorithm>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_errors.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::size_t kReadAhead = 4 * KiB;   // where long answers are expected
constexpr std::uint32_t kDirect = 16 * KiB;   // payloads from here on are received in place
constexpr std::chrono::milliseconds kQuiet{1'000};  // without a byte: ask whether anybody is there
constexpr std::chrono::milliseconds kMute{6'000};   // asked, and still no byte: it is dead
constexpr std::uint64_t kPingId = ~std::uint64_t{0};

}  // namespace

// A server that is asked has to have time to answer before the user's patience ends.
std::chrono::milliseconds R3Slot::quiet_time() const {
  const auto patience = session_.options().io_timeout;
  return patience.count() > 0 ? std::min(kQuiet, patience / 4) : kQuiet;
}

void R3Slot::receive(Lock& lock, Clock::time_point until) {
  if (take_frames(lock)) return;  // what the last leader left
  // While long answers come, little is read ahead: the rest of them is received where it belongs.
  const bool expect_long = bytes_ >= kDirect * in_flight_.load();
  lock.unlock();
  Bytes space = reader_->space();
  if (expect_long && space.size() > kReadAhead) space = space.first(kReadAhead);
  auto n = link_->read_some(space);
  if (!n) {
    wait_for_bytes(until);
    n = link_->read_some(space);
  }
  lock.lock();
  if (!n) return;
  if (*n == 0) fail(ECONNRESET, "the server closed the connection");
  reader_->received(*n);
  session_.outage().heard(Clock::now());
  asked_ = {};
  take_frames(lock);
}

void R3Slot::wait_for_bytes(Clock::time_point until) {
  if (link_->holds_input()) return;
  const auto quiet = Clock::now() + quiet_time();
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(std::min(until, quiet) - Clock::now());
  const auto timeout = std::max<int>(0, static_cast<int>(left.count()));
  if (wait_for(link_->input(), POLLIN, session_.stop(), timeout) != Wait::timed_out) return;
  if (until < quiet) return;
  if (asked_ == Clock::time_point{}) asked_ = Clock::now();
  else if (Clock::now() - asked_ > kMute) fail(ETIMEDOUT, "the server is silent");
  ask_for_life();
}

// Again and again: a server that misses the end of a request takes these bytes for it, and notices.
void R3Slot::ask_for_life() {
  std::unique_lock sending(sending_, std::try_to_lock);
  if (!sending.owns_lock()) return;  // somebody sends right now, which tells as much
  Header ping;
  ping.type = static_cast<std::uint8_t>(Type::ping);
  ping.id = kPingId;
  append(ping, {});
  send_out({});
}

// Whether there was one. Behind a long one may come another, and so on for as long as somebody asks: the leader has
// to look after each whether it has its own.
bool R3Slot::take_frames(Lock& lock) {
  for (bool taken = false;; taken = true) {
    const Header* reply = reader_->header();
    if (!reply) return taken;
    const bool data = reply->type == (static_cast<std::uint8_t>(Type::read) | kReply);
    if (const auto payload = reader_->payload()) {
      take_reply(*reply, *payload);
      reader_->pop();
    } else if (data && reply->payload >= kDirect && (reply->flags & kZstd) == 0) {
      failures_ = barren_ = 0;
      take_long(lock, *reply);
      return true;
    } else {
      return taken;
    }
    failures_ = barren_ = 0;
  }
}

R3Call& R3Slot::call_of(const Header& reply) {
  const auto place = static_cast<std::uint32_t>(reply.id);
  R3Call* call = place < calls_.size() ? calls_[place] : nullptr;
  if (!call || call->request.id != reply.id || reply.type != (call->request.type | kReply))
    throw ProtocolError("an answer to no request");
  return *call;
}

void R3Slot::take_reply(const Header& reply, ConstBytes payload) {
  if (reply.id == kPingId && reply.type == (static_cast<std::uint8_t>(Type::ping) | kReply)) return;
  R3Call& call = call_of(reply);
  if (reply.error != 0) return finish(call, is_wire_error(reply.error) ? reply.error : EIO);
  switch (static_cast<Type>(call.request.type)) {
    case Type::read:
      unpacker_.unpack(reply.flags, payload, place_of(call, reply));
      return got_data(call, reply);
    case Type::extents:
    case Type::hash: call.answer.assign(payload.begin(), payload.end()); break;
    default:
      if (is_migration(static_cast<Type>(call.request.type)))
        call.answer.assign(payload.begin(), payload.end());
      call.verifier = reply.offset;
  }
  finish(call, 0);
}

// Where the piece belongs: right behind the last one, and inside what was asked for.
Bytes R3Slot::place_of(const R3Call& call, const Header& reply) const {
  if (reply.offset != call.request.offset + call.got ||
      reply.length > call.into.size() - call.got)
    throw ProtocolError("a piece of data that was not asked for");
  return call.into.subspan(call.got, reply.length);
}

void R3Slot::got_data(R3Call& call, const Header& reply) {
  call.got += reply.length;
  const bool whole = call.got == call.into.size();
  if (whole == ((reply.flags & kMore) != 0) || (!whole && reply.length == 0))
    throw ProtocolError("data that end too early or too late");
  if (whole) finish(call, 0);
}

// All of `into`, and what comes with it of `then`, the reader's.
void R3Slot::receive_into(Bytes into, Bytes then) {
  while (!into.empty()) {
    const auto n = link_->read_some(into, then);
    if (n && *n == 0) fail(ECONNRESET, "the server closed the connection");
    if (n) {
      session_.outage().heard(Clock::now());
      if (*n > into.size()) reader_->received(*n - into.size());
      into = into.subspan(std::min(*n, into.size()));
    } else if (!link_->holds_input()) {
      const Wait got = wait_for(link_->input(), POLLIN, session_.stop(), longest_silence());
      if (got == Wait::stopped) fail(ECANCELED, "connection");
      if (got == Wait::timed_out) fail(ETIMEDOUT, "the server stopped in the middle of an answer");
    }
  }
}

void R3Slot::take_long(Lock& lock, const Header& frame) {
  const Header reply = frame;
  R3Call& call = call_of(reply);
  const Bytes into = place_of(call, reply);
  if (reply.payload != into.size()) throw ProtocolError("a payload of the wrong length");
  pinned_ = true;
  lock.unlock();
  const auto rest = into.subspan(reader_->take(into));
  if (!rest.empty()) receive_into(rest, reader_->behind_taken());
  reader_->pop_taken(into);
  lock.lock();
  pinned_ = false;
  unpinned_.notify_all();
  got_data(call, reply);
}

}  // namespace r3
