// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_slot.hpp"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::size_t kCork = 16 * KiB;
constexpr std::uint32_t kMostCalls = 4096;
constexpr std::chrono::milliseconds kStuck{15'000};  // nothing can be sent: the connection is dead
constexpr std::chrono::seconds kLongLife{10};        // of a connection that is not to be blamed

std::uint64_t credit_bytes(const Header& request) {
  const auto type = static_cast<Type>(request.type);
  return type == Type::read || type == Type::write ? request.length : 0;
}

}  // namespace

R3Slot::R3Slot(R3Session& session, std::uint32_t index) : session_(session), index_(index) {}

R3Slot::~R3Slot() {
  if (link_ && up_) link_->finish();
}

int R3Slot::longest_silence() const {
  const auto end = session_.outage().end();
  if (end == Clock::time_point::max()) return static_cast<int>(kStuck.count());
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
  return static_cast<int>(std::clamp(left, std::chrono::milliseconds(0), kStuck).count());
}

void R3Slot::raise(int error) const { fail(error, session_.options().server); }

void R3Slot::start(R3Call& call, bool more) {
  take_place(call);
  std::lock_guard sending(sending_);
  {
    // Without a connection, whoever waits first dials and sends; a new one may have done so by now.
    Lock lock(mutex_);
    if (!up_ || call.done || call.sent_on == connection_) return;
    call.sent_on = connection_;
  }
  try {
    send(call.request, call.payload, more);
  } catch (const std::system_error&) {
    break_off();
  }
}

void R3Slot::take_place(R3Call& call) {
  Lock lock(mutex_);
  call.slot = this;
  call.done = false;
  call.error = 0;
  call.got = 0;
  call.sent_on = 0;
  call.started = Clock::now();
  if (calls_.empty()) {
    calls_.resize(std::min<std::uint32_t>(session_.welcome().max_requests, kMostCalls));
    for (std::uint32_t i = 0; i < calls_.size(); ++i) free_.push_back(i);
  }
  const auto bytes = credit_bytes(call.request);
  wait_for_credit(lock, call, bytes);
  const std::uint32_t place = free_.back();
  free_.pop_back();
  calls_[place] = &call;
  call.request.id = std::uint64_t{++serial_} << 32 | place;
  bytes_ += bytes;
  ++in_flight_;
  session_.outage().begin_wait(call.started);
}

void R3Slot::wait_for_credit(Lock& lock, R3Call& call, std::uint64_t bytes) {
  // What is in the background leaves a part of the credits to what is not.
  const Welcome& limits = session_.welcome();
  const bool background = (call.request.flags & kBackground) != 0;
  const std::size_t reserved = background ? calls_.size() / 4 : 0;
  const std::uint64_t most = background ? limits.max_bytes / 4 * 3 : limits.max_bytes;
  const auto has_credit = [&] {
    return free_.size() > reserved && (bytes_ == 0 || bytes_ + bytes <= most);
  };
  if (has_credit()) return;
  lock.unlock();
  send_corked();
  lock.lock();
  std::condition_variable mine;
  starving_.push_back(&mine);
  try {
    drive(lock, mine, has_credit);
  } catch (...) {
    std::erase(starving_, &mine);
    if (!leader_) promote();
    throw;
  }
  std::erase(starving_, &mine);
  call.started = Clock::now();
}

// With `more`, a request without data may wait for the next one, or for send_corked().
void R3Slot::send(Header request, ConstBytes data, bool more) {
  const Packed packed = static_cast<Type>(request.type) == Type::write
                            ? packer_.pack(data, may_compress_, rate_.bytes_per_second())
                            : Packed{0, data};
  request.flags |= packed.flags;
  append(request, packed.bytes);
  if (!more || corked_.size() >= kCork || !packed.bytes.empty()) send_out(packed.bytes);
}

void R3Slot::append(const Header& request, ConstBytes payload) {
  Header header = request;
  header.payload = static_cast<std::uint32_t>(payload.size());
  const auto at = corked_.size();
  corked_.resize(at + kMaxPrelude);
  corked_.resize(at + store_prelude(corked_.data() + at, header, payload, sums_, sent_++));
}

void R3Slot::send_out(ConstBytes payload) {
  const iovec parts[] = {{corked_.data(), corked_.size()},
                         {const_cast<std::byte*>(payload.data()), payload.size()}};
  write_all(*link_, {parts, payload.empty() ? 1u : 2u}, session_.stop(), longest_silence(),
            &rate_);
  corked_.clear();
}

void R3Slot::send_corked() {
  std::lock_guard sending(sending_);
  if (corked_.empty()) return;
  try {
    send_out({});
  } catch (const std::system_error&) {
    break_off();
  }
}

void R3Slot::wait(R3Call& call) {
  Lock lock(mutex_);
  if (!call.done) {
    // Only now somebody waits: until here requests could gather, to be sent at once.
    lock.unlock();
    send_corked();
    lock.lock();
  }
  std::condition_variable mine;
  call.waiter = &mine;
  try {
    drive(lock, mine, [&] { return call.done; });
  } catch (...) {
    if (!call.done) cancel(lock, call);
    throw;
  }
  if (call.error == ESTALE) fail(ESTALE, session_.options().server + ": a newer writer has the export");
  if (call.error != 0) raise(call.error);
}

template <class Done>
void R3Slot::drive(Lock& lock, std::condition_variable& mine, Done done) {
  while (!done()) {
    if (session_.stop().requested()) raise(ESHUTDOWN);
    if (const int error = session_.dead()) raise(error);
    const auto until = session_.outage().end();
    if (Clock::now() >= until) {
      session_.outage().give_up();
      fail(EIO, session_.options().server + ": no answer in time");
    }
    if (!leader_) {
      leader_ = true;
      lead(lock, until);
      leader_ = false;
    } else {
      waiting_.push_back(&mine);
      if (until == Clock::time_point::max()) mine.wait(lock);
      else mine.wait_until(lock, until);
      std::erase(waiting_, &mine);
    }
  }
  if (!leader_) promote();
}

// Somebody else leads from now on, the keeper if nobody waits and there is something to do.
void R3Slot::promote() {
  if (!waiting_.empty()) waiting_.front()->notify_one();
  else if ((!up_ || hung_up_) && connection_ > 0) session_.watch().ring();
}

void R3Slot::look_after() {
  Lock lock(mutex_);
  hung_up_ = leader_;
  if (leader_ || connection_ == 0) return;
  leader_ = true;
  if (up_) {
    pollfd watched{link_->input(), POLLRDHUP, 0};
    if (::poll(&watched, 1, 0) > 0) lead(lock, Clock::time_point::max());
  }
  while (!up_ && !session_.stop().requested() && session_.dead() == 0)
    lead(lock, Clock::time_point::max());
  leader_ = false;
  if (!waiting_.empty()) promote();
}

void R3Slot::finish(R3Call& call, int error) {
  const auto place = static_cast<std::uint32_t>(call.request.id);
  call.error = error;
  call.done = true;
  calls_[place] = nullptr;
  free_.push_back(place);
  bytes_ -= credit_bytes(call.request);
  --in_flight_;
  session_.outage().end_wait();
  if (!again_.empty()) {
    std::erase(again_, &call);
    allowance_ += 2;
  }
  if (call.waiter) call.waiter->notify_one();
  for (std::condition_variable* one : starving_) one->notify_one();
}

// The request may still be under way: only the end of its connection makes sure that it has no effect
// later (the next HELLO waits for what the old connection does).
void R3Slot::cancel(Lock& lock, R3Call& call) {
  if (!leader_) promote();
  if (link_) link_->shut_down();
  given_up_ = up_;
  unpinned_.wait(lock, [&] { return !pinned_; });
  if (!call.done) finish(call, EIO);
}

void R3Slot::break_off() noexcept {
  Lock lock(mutex_);
  if (link_) link_->shut_down();
}

void R3Slot::abandon() noexcept {
  Lock lock(mutex_);
  for (std::condition_variable* one : waiting_) one->notify_one();
}

void R3Slot::lead(Lock& lock, Clock::time_point until) {
  try {
    if (!up_) {
      lock.unlock();
      if (back_off(until)) dial(until);
      lock.lock();
    } else {
      receive(lock, until);
    }
    if (up_ && !again_.empty() && allowance_ > 0) send_again(lock);
  } catch (const std::exception& error) {
    if (!lock.owns_lock()) lock.lock();
    if (errno_of_current_exception() == ESHUTDOWN) session_.end(ESHUTDOWN);
    lose(lock, error.what());
  }
  if (pinned_) {
    pinned_ = false;
    unpinned_.notify_all();
  }
}

void R3Slot::lose(Lock& lock, const std::string& what_happened) {
  const bool was_up = up_;
  const std::string reason =
      std::exchange(given_up_, false) && was_up ? "the server does not answer" : what_happened;
  if (link_) link_->shut_down();
  up_ = false;
  if (was_up && Clock::now() - connected_ > kLongLife) failures_ = 0;
  ++failures_;
  lock.unlock();
  log_debug(session_.options().server + ": " + reason);
  if (session_.stop().requested()) {
    // Nobody wants to know any more.
  } else if (was_up) {
    lost_ = true;
    session_.lost(reason);
  } else if (lost_ && session_.dead() == 0) {
    session_.still_lost(reason);
  }
  lock.lock();
}

}  // namespace r3
