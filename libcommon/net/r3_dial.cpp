// SPDX-License-Identifier: Apache-2.0
// How a slot gets a connection: back-off, dial, HELLO, what a new server has to be told again, and then the
// requests that the old connection did not answer.
#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{10'000};
constexpr std::chrono::milliseconds kGreetingTime{15'000};
constexpr std::size_t kReplayAhead = 16;  // changes sent before their answers are read, in the end

double random_fraction() {
  std::uint32_t value = 0;
  [[maybe_unused]] auto n = ::getrandom(&value, sizeof value, 0);
  return value / 4294967296.0;
}

}  // namespace

// A connection that nobody else knows of yet.
struct R3Slot::Dialling {
  R3Slot& slot;
  std::unique_ptr<Link> link;
  bool sums;
  bool nearby;
  std::unique_ptr<FrameReader> reader =
      std::make_unique<FrameReader>(Side::client, sums, kMaxTransfer);
  std::uint64_t sent = 0;
  Welcome welcome{};
  Clock::time_point until = Clock::time_point::max();
  bool greeted = false;

  // ms that may pass without a byte.
  int patience() const {
    if (greeted) return slot.longest_silence();
    if (until == Clock::time_point::max()) return static_cast<int>(kGreetingTime.count());
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kGreetingTime).count());
  }

  void send(Header header, ConstBytes payload) {
    header.payload = static_cast<std::uint32_t>(payload.size());
    std::array<std::byte, kMaxPrelude> prelude;
    const auto size = store_prelude(prelude.data(), header, payload, sums, sent++);
    const iovec parts[] = {{prelude.data(), size},
                           {const_cast<std::byte*>(payload.data()), payload.size()}};
    write_all(*link, {parts, payload.empty() ? 1u : 2u}, slot.session_.stop(), patience());
  }

  // The next frame; its payload is valid until reader->pop(), which the caller does.
  Header receive(ConstBytes& payload) {
    for (;;) {
      if (const auto whole = reader->payload()) {
        payload = *whole;
        return *reader->header();
      }
      const auto n = link->read_some(reader->space());
      if (n && *n == 0) fail(ECONNRESET, "the server closed the connection");
      if (n) {
        reader->received(*n);
      } else if (!link->holds_input()) {
        const Wait got = wait_for(link->input(), POLLIN, slot.session_.stop(), patience());
        if (got == Wait::stopped) fail(ECANCELED, "r3 server");
        if (got == Wait::timed_out) fail(ETIMEDOUT, "the server does not answer");
      }
    }
  }
};

// The first connection's errors are the user's: they say which server, and what could be wrong.
void R3Slot::connect_first() {
  const std::string& server = session_.options().server;
  try {
    dial(Clock::now() + session_.options().connect_timeout);
  } catch (const ProtocolError& error) {
    throw ProtocolError(server + ": " + error.what());
  } catch (const std::system_error& error) {
    const std::string_view text = error.what();
    if (text.starts_with(server)) throw;
    if (error.code() == std::errc::connection_reset || error.code() == std::errc::broken_pipe)
      fail(ECONNRESET, server + ": it ended the connection without an answer, and may want other keys, or none");
    const std::string reason = ": " + error.code().message();
    const auto what = text.ends_with(reason) ? text.substr(0, text.size() - reason.size()) : text;
    throw std::system_error(error.code(), server + ": " + std::string(what));
  }
}

bool R3Slot::back_off(Clock::time_point until) {
  if (failures_ == 0) return true;
  auto pause = std::min(kLongestPause, kFirstPause * (1 << std::min(failures_ - 1, 10u)));
  // Who has little patience gets several tries within it.
  if (const auto patience = session_.options().io_timeout; patience.count() > 0)
    pause = std::min(pause, patience / 4);
  const auto jittered = std::chrono::duration_cast<std::chrono::milliseconds>(
      pause * (0.5 + 0.5 * random_fraction()));
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
  return !session_.stop().wait_for(std::clamp(left, std::chrono::milliseconds(0), jittered)) &&
         Clock::now() < until;
}

void R3Slot::dial(Clock::time_point until) {
  R3Dialled dialled = session_.dial()(session_.stop(), until);
  Dialling to{*this, std::move(dialled.link), dialled.sums, dialled.nearby};
  to.until = until;
  greet(to);
  to.greeted = true;
  session_.outage().heard(Clock::now());
  session_.welcomed(to.welcome, [&](const std::deque<Unflushed>& changes, std::size_t& done) {
    replay(to, changes, done);
  });
  take_over(to);
  session_.watch().add(link_->input());
  if (std::exchange(lost_, false)) session_.back();
}

// The connection may be to a command, which knows more than that it broke.
void R3Slot::greet(Dialling& to) try {
  bound_unsent(to.link->output());
  Header request;
  request.type = static_cast<std::uint8_t>(Type::hello);
  request.offset = session_.token();
  const std::string hello = encode(session_.hello(index_, ++generation_, to.nearby));
  const auto sent = Clock::now();
  to.send(request, as_bytes(hello));
  ConstBytes payload;
  const Header reply = to.receive(payload);
  session_.measured(Clock::now() - sent);
  if (reply.type != (request.type | kReply) || reply.id != request.id)
    throw ProtocolError("the server does not answer HELLO");
  if (reply.error != 0) fail(reply.error, "export '" + session_.options().export_name + "'" +
                          (reply.error == ENOENT ? " is not there, or not for this key" : ""));
  to.welcome = decode_welcome(payload);
  to.reader->pop();
} catch (const std::system_error& error) {
  const bool broke = error.code().value() == ECONNRESET || error.code().value() == EPIPE;
  const std::string why = broke ? to.link->why_ended() : std::string();
  if (broke && to.link->refused_usage()) throw std::invalid_argument(why);
  if (!why.empty()) fail(ECONNRESET, why);
  throw;
} catch (const ProtocolError& error) {
  if (connection_ > 0) throw;
  throw ProtocolError(std::string("it does not answer as an r3 server does: ") + error.what());
}

// Overlapping changes one after the other: the server may make those that it has at once in any order.
// `done` of them, counted from the first, were answered by this server before; it grows here, so that
// connections that live shortly get on with it.
void R3Slot::replay(Dialling& to, const std::deque<Unflushed>& changes, std::size_t& done) {
  std::vector<std::size_t> open;  // sent and not answered, ascending
  std::size_t ahead = 1;
  const auto may_send = [&](const Unflushed& next) {
    return open.size() < ahead && std::none_of(open.begin(), open.end(), [&](auto i) {
      const Unflushed& one = changes[i];
      return next.request.offset < one.request.offset + one.size() &&
             one.request.offset < next.request.offset + next.size();
    });
  };
  for (std::size_t next = done; next < changes.size() || !open.empty();) {
    if (next < changes.size() && may_send(changes[next])) {
      Header request = changes[next].request;
      request.id = next;
      to.send(request, changes[next].data);
      open.push_back(next++);
      continue;
    }
    ConstBytes payload;
    const Header reply = to.receive(payload);
    if (std::erase(open, reply.id) == 0) throw ProtocolError("an answer to no request");
    if (reply.error == ESTALE) session_.end(ESTALE);  // a newer writer was there first
    if (reply.error != 0) fail(reply.error, "the restarted server refuses a change");
    to.reader->pop();
    done = open.empty() ? next : open.front();
    ahead = std::min(ahead + 1, kReplayAhead);
    failures_ = 0;  // this server gets on
    session_.outage().heard(Clock::now());
  }
}

// The new connection is everybody's; what the old one left unanswered is sent again.
void R3Slot::take_over(Dialling& to) {
  std::lock_guard sending(sending_);
  Lock lock(mutex_);
  link_ = std::move(to.link);
  reader_ = std::move(to.reader);
  sums_ = to.sums;
  sent_ = to.sent;
  may_compress_ = (to.welcome.features & kFeatureZstd) != 0;
  corked_.clear();
  session_.outage().heard(connected_ = Clock::now());
  asked_ = {};
  up_ = true;
  ++connection_;
  again_.clear();
  for (R3Call* call : calls_)
    if (call) {
      call->sent_on = connection_;
      again_.push_back(call);
    }
  std::sort(again_.begin(), again_.end(),
            [](const R3Call* a, const R3Call* b) { return a->started < b->started; });
  // After a connection that did not live for a single answer, one at first: it has to get through whole.
  allowance_ = barren_++ == 0 ? again_.size() : 1;
}

// Of a READ only what is missing. Keeps the calls where they are meanwhile (pinned_).
void R3Slot::send_again(Lock& lock) {
  pinned_ = true;
  while (allowance_ > 0 && !again_.empty()) {
    --allowance_;
    const R3Call& call = *again_.front();
    again_.pop_front();
    Header request = call.request;
    if (static_cast<Type>(request.type) == Type::read) {
      request.offset += call.got;
      request.length -= call.got;
    }
    lock.unlock();
    {
      std::lock_guard sending(sending_);
      send(request, call.payload, true);
    }
    lock.lock();
  }
  lock.unlock();
  send_corked();
  lock.lock();
  pinned_ = false;
  unpinned_.notify_all();
}

}  // namespace r3
