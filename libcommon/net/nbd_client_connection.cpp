// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_connection.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/deadline.hpp"

namespace r3::nbd {

namespace {

using Clock = std::chrono::steady_clock;

// The low bits of a cookie say which slot it belongs to; the rest is never the same again.
constexpr unsigned kSlotBits = 20;
constexpr int kLookAgain = 5;  // ms, while another thread receives

bool is_over(Connection::Deadline deadline) {
  return deadline && Clock::now() >= *deadline;
}

}  // namespace

Connection::Connection(Channel channel, const Agreement& agreement)
    : agreement_(agreement),
      channel_(std::move(channel)),
      reader_(channel_.input(), agreement_, *this) {}

Connection::~Connection() {
  if (failed_) return;
  Request request{kRequestMagic, std::uint16_t{0}, std::uint16_t{kDisconnect}, 0, 0, 0};
  ::send(channel_.output(), &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Connection::submit(Call& call, Deadline deadline) {
  const auto cookie = enter(call);
  if (cookie == 0) return;
  const Request request{kRequestMagic, call.flags,  std::uint16_t{call.command},
                        cookie,        call.offset, call.length};
  std::lock_guard lock(send_mutex_);
  send(std::as_bytes(std::span(&request, 1)), call.payload, deadline);
}

// The call's cookie; 0 if it is lost already.
std::uint64_t Connection::enter(Call& call) {
  std::lock_guard lock(mutex_);
  call.state = Call::State::lost;
  call.error = 0;
  call.has_chunks = false;
  call.covered.clear();
  call.extents.clear();
  if (failed_) return 0;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const auto index = free_.back();
  free_.pop_back();
  const auto cookie = ++uses_ << kSlotBits | index;
  slots_[index].call = &call;
  slots_[index].cookie = cookie;
  call.slot = index;
  call.sleeping = false;
  call.state = Call::State::in_flight;
  in_flight_.fetch_add(1, std::memory_order_relaxed);
  return cookie;
}

void Connection::send(ConstBytes header, ConstBytes payload, Deadline deadline) {
  while (!header.empty() || !payload.empty()) {
    iovec parts[2] = {{const_cast<std::byte*>(header.data()), header.size()},
                      {const_cast<std::byte*>(payload.data()), payload.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    const auto n = ::sendmsg(channel_.output(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (wait_to_send(deadline)) continue;
      return fail("no room to send");
    }
    if (n < 0) return fail(std::generic_category().message(errno));
    const auto from_header = std::min(static_cast<std::size_t>(n), header.size());
    header = header.subspan(from_header);
    payload = payload.subspan(static_cast<std::size_t>(n) - from_header);
  }
}

// A server may stop taking requests until its replies are taken; so while there is no room to send, this
// thread receives, unless another one does. False when the deadline has passed.
bool Connection::wait_to_send(Deadline deadline) {
  pollfd room{channel_.output(), POLLOUT, 0};
  pollfd both[] = {room, {channel_.input(), POLLIN, 0}};
  ::poll(both, 2, milliseconds_until(deadline));
  if (is_over(deadline)) return false;
  if (both[0].revents || !both[1].revents) return true;
  std::unique_lock lock(mutex_);
  if (!receiving_ && !failed_) {
    // Another thread may have taken what poll() saw, and been the last that a reply was due to: the next
    // one comes when the server has the rest of this very request, so there is no waiting for it here.
    if (::poll(&both[1], 1, 0) > 0) receive_for(lock, nullptr, deadline);
    return true;
  }
  lock.unlock();
  // The other thread may end receiving, and no event tells.
  ::poll(&room, 1, kLookAgain);
  return true;
}

void Connection::wait(Call& call, Deadline deadline) noexcept {
  std::unique_lock lock(mutex_);
  while (call.state == Call::State::in_flight) {
    if (!receiving_) {
      receive_for(lock, &call, deadline);
      continue;
    }
    call.sleeping = true;
    const Bell& bell = slots_[call.slot].bell;
    const auto rings = bell.rings();
    lock.unlock();
    const bool rung = bell.wait(rings, deadline);
    if (call.state != Call::State::in_flight) return;
    lock.lock();
    call.sleeping = false;
    if (!rung && call.state == Call::State::in_flight) {
      fail_locked("no answer");
      deadline.reset();  // who receives now finds out at once, and ends all calls
    }
  }
}

// Receives until `own` is answered (one reply, if there is none), and what is here by then: the others
// are woken at once then, not one by the other. Called, and returns, with the mutex held.
void Connection::receive_for(std::unique_lock<std::mutex>& lock, const Call* own, Deadline deadline) {
  receiving_ = true;
  lock.unlock();
  std::string trouble;
  bool is_nonsense = false;
  try {
    // Only the thread that receives changes the state of a call in flight.
    do reader_.read_one(deadline);
    while (own && (own->state == Call::State::in_flight || reader_.has_one()));
  } catch (const ProtocolError& error) {
    trouble = error.what();
    is_nonsense = true;
  } catch (const std::system_error& error) {
    trouble = channel_.why_ended();
    if (trouble.empty()) trouble = error.what();
  }
  lock.lock();
  receiving_ = false;
  if (!trouble.empty() && !failed_) {
    nonsense_ = is_nonsense;
    fail_locked(trouble);
  } else if (failed_) {
    lose_all();
  } else {
    const auto next = std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) {
      return slot.call && slot.call->sleeping;
    });
    if (next != slots_.end()) next->bell.ring();
  }
}

Call& Connection::find(std::uint64_t cookie) {
  std::lock_guard lock(mutex_);
  const auto index = cookie & ((1U << kSlotBits) - 1);
  if (index >= slots_.size() || !slots_[index].call || slots_[index].cookie != cookie)
    throw ProtocolError("a reply to a request that was not made, or is answered already");
  return *slots_[index].call;
}

void Connection::complete(std::uint64_t cookie) {
  std::unique_lock lock(mutex_);
  const auto index = cookie & ((1U << kSlotBits) - 1);
  Slot& slot = slots_[index];
  Call& call = *std::exchange(slot.call, nullptr);
  free_.push_back(static_cast<std::uint32_t>(index));
  in_flight_.fetch_sub(1, std::memory_order_relaxed);
  answered_ = true;
  const bool sleeping = call.sleeping;
  call.state = Call::State::answered;  // from here on the call may be gone
  lock.unlock();
  if (sleeping) slot.bell.ring();
}

void Connection::fail(const std::string& text) noexcept {
  std::lock_guard lock(mutex_);
  fail_locked(text);
}

void Connection::fail_locked(const std::string& text) {
  if (failed_) return;
  failed_ = true;
  reason_ = text;
  channel_.shut_down();
  // A thread that receives may be writing into a call's bytes: it will end them itself.
  if (!receiving_) lose_all();
}

void Connection::lose_all() {
  for (Slot& slot : slots_) {
    if (!slot.call) continue;
    Call& call = *std::exchange(slot.call, nullptr);
    in_flight_.fetch_sub(1, std::memory_order_relaxed);
    const bool sleeping = call.sleeping;
    call.state = Call::State::lost;  // from here on the call may be gone
    if (sleeping) slot.bell.ring();
  }
}

bool Connection::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

std::string Connection::reason() const {
  std::lock_guard lock(mutex_);
  return reason_;
}

bool Connection::nonsense() const {
  std::lock_guard lock(mutex_);
  return nonsense_;
}

bool Connection::answered() const {
  std::lock_guard lock(mutex_);
  return answered_;
}

}  // namespace r3::nbd
