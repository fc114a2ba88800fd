// SPDX-License-Identifier: Apache-2.0
// How a slot gets a connection: back-off, dial, HELLO, what a new server has to be told again, and then the
// requests that the old connection did not answer.
#include <poll.h>
#include <sys/random.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::chrono::milliseconds kFirstPause{50};
constexpr std::chrono::milliseconds kLongestPause{10'000};
constexpr int kAnswerTimeout = 15'000;  // ms without a byte
constexpr unsigned kReplayAhead = 16;   // changes sent before their answers are read

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
  bool in_memory;
  std::unique_ptr<FrameReader> reader =
      std::make_unique<FrameReader>(Side::client, sums, kMaxTransfer);
  std::uint64_t sent = 0;
  Welcome welcome{};

  void send(Header header, ConstBytes payload) {
    header.payload = static_cast<std::uint32_t>(payload.size());
    std::array<std::byte, kMaxPrelude> prelude;
    const auto size = store_prelude(prelude.data(), header, payload, sums, sent++);
    const iovec parts[] = {{prelude.data(), size},
                           {const_cast<std::byte*>(payload.data()), payload.size()}};
    write_all(*link, {parts, payload.empty() ? 1u : 2u}, slot.session_.stop(), kAnswerTimeout);
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
        const Wait got = wait_for(link->input(), POLLIN, slot.session_.stop(), kAnswerTimeout);
        if (got == Wait::stopped) fail(ECANCELED, "r3 server");
        if (got == Wait::timed_out) fail(ETIMEDOUT, "the server does not answer");
      }
    }
  }
};

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

void R3Slot::dial() {
  R3Dialled dialled = session_.dial()(session_.stop());
  Dialling to{*this, std::move(dialled.link), dialled.sums, dialled.in_memory};
  greet(to);
  session_.welcomed(to.welcome,
                    [&](const std::deque<Unflushed>& changes) { replay(to, changes); });
  take_over(to);
}

void R3Slot::greet(Dialling& to) {
  bound_unsent(to.link->output());
  Header request;
  request.type = static_cast<std::uint8_t>(Type::hello);
  const std::string hello = encode(session_.hello(index_, ++generation_, to.in_memory));
  to.send(request, as_bytes(hello));
  ConstBytes payload;
  const Header reply = to.receive(payload);
  if (reply.type != (request.type | kReply) || reply.id != request.id)
    throw ProtocolError("the server does not answer HELLO");
  if (reply.error != 0) fail(reply.error, "export '" + session_.options().export_name + "'");
  to.welcome = decode_welcome(payload);
  to.reader->pop();
}

// Overlapping changes one after the other: the server may make those that it has at once in any order.
void R3Slot::replay(Dialling& to, const std::deque<Unflushed>& changes) {
  std::vector<std::size_t> open;  // sent and not answered
  const auto may_send = [&](const Unflushed& next) {
    return open.size() < kReplayAhead && std::none_of(open.begin(), open.end(), [&](auto i) {
      const Unflushed& one = changes[i];
      return next.request.offset < one.request.offset + one.size() &&
             one.request.offset < next.request.offset + next.size();
    });
  };
  for (std::size_t next = 0; next < changes.size() || !open.empty();) {
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
    if (reply.error != 0) fail(reply.error, "the restarted server refuses a change");
    to.reader->pop();
  }
}

// The new connection is everybody's; what the old one left unanswered is sent again.
void R3Slot::take_over(Dialling& to) {
  std::lock_guard sending(sending_);
  std::vector<R3Call*> again;
  {
    Lock lock(mutex_);
    link_ = std::move(to.link);
    reader_ = std::move(to.reader);
    sums_ = to.sums;
    sent_ = to.sent;
    corked_.clear();
    heard_ = Clock::now();
    asked_ = {};
    up_ = true;
    ++connection_;
    for (R3Call* call : calls_)
      if (call) {
        call->got = 0;
        call->sent_on = connection_;
        again.push_back(call);
      }
    pinned_ = !again.empty();
  }
  for (R3Call* call : again) {
    append(call->request, call->payload);
    if (corked_.size() >= kPiece || !call->payload.empty()) send_out(call->payload);
  }
  if (!corked_.empty()) send_out({});
}

}  // namespace r3
