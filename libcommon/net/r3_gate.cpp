// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_gate.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "libcommon/net/sockaddr.hpp"

namespace r3 {

namespace {

constexpr int kTick = 250;  // ms between looks at who is late
// A stranger cannot fill the log: so many refusals are said in so long a time.
constexpr unsigned kMostRefusals = 20;
constexpr std::chrono::seconds kRefusalTime{10};

void watch(int epoll, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  check(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

}  // namespace

R3Gate::R3Gate(R3Server& server, std::shared_ptr<const R3Policy> policy, R3GateOptions options)
    : server_(server),
      options_(std::move(options)),
      epoll_(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      policy_(std::move(policy)) {}

void R3Gate::run(std::vector<Listener>& listeners, const Stop& stop) {
  for (const Listener& listener : listeners) watch(epoll_.get(), listener.fd(), EPOLLIN);
  watch(epoll_.get(), stop.fd(), EPOLLIN);
  std::array<epoll_event, 256> events;
  while (!stop.requested()) {
    const int n = ::epoll_wait(epoll_.get(), events.data(), events.size(), kTick);
    if (n < 0 && errno != EINTR) fail(errno, "epoll_wait");
    for (int i = 0; i < n; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      const auto listener = std::find_if(listeners.begin(), listeners.end(),
                                         [&](const Listener& one) { return one.fd() == fd; });
      if (listener != listeners.end()) accept_one(*listener, stop);
      else if (fd != stop.fd()) let_in(fd);
    }
    drop_late();
    threads_.collect();
  }
  silent_.clear();
  threads_.stop().request();
  threads_.join();
}

void R3Gate::accept_one(Listener& listener, const Stop& stop) {
  Fd fd = listener.accept(stop);
  if (!fd.valid()) return;
  // Not readable before a whole preamble is there, whatever trickles in.
  const int enough = wire::kPreambleSize;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVLOWAT, &enough, sizeof enough);
  watch(epoll_.get(), fd.get(), EPOLLIN | EPOLLRDHUP | EPOLLONESHOT);
  const int number = fd.get();
  late_.push_back({Clock::now() + options_.opening_time, number, ++serial_});
  silent_[number] = {std::move(fd), serial_};
}

void R3Gate::drop_late() {
  const auto now = Clock::now();
  while (!late_.empty() && (late_.front().deadline <= now || silent_.size() > options_.max_silent)) {
    const auto one = silent_.find(late_.front().fd);
    if (one != silent_.end() && one->second.serial == late_.front().serial) silent_.erase(one);
    late_.pop_front();
  }
}

void R3Gate::let_in(int number) {
  const auto one = silent_.find(number);
  if (one == silent_.end()) return;
  Fd fd = std::move(one->second.fd);
  silent_.erase(one);
  const int any = 1;
  ::setsockopt(number, SOL_SOCKET, SO_RCVLOWAT, &any, sizeof any);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, number, nullptr);
  if (handshakes_ >= options_.max_handshakes) return;
  ++handshakes_;
  auto shared = std::make_shared<Channel>(std::move(fd));
  try {
    threads_.spawn([this, shared] { serve(std::move(*shared), threads_.stop()); });
  } catch (const std::system_error&) {
    --handshakes_;  // no thread to be had: the client may come again
  }
}

void R3Gate::serve_one(Channel channel, const Stop& stop) {
  ++handshakes_;
  serve(std::move(channel), stop);
}

void R3Gate::refused(const std::string& peer, const std::string& reason) {
  std::string line = peer + ": refused: " + reason;
  {
    std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (now - said_ > kRefusalTime) {
      said_ = now;
      refusals_ = 0;
    }
    if (++refusals_ > kMostRefusals) return;
    if (refusals_ == kMostRefusals) line += "; the next ones are not said for a while";
  }
  log_warning(line);
}

// Throws ProtocolError with the reason if it may not.
void R3Gate::enter(const R3Accepted& one, std::list<Live>::iterator& place, const R3Policy& policy) {
  std::lock_guard lock(mutex_);
  if (live_.size() >= options_.max_connections)
    throw ProtocolError("there are " + std::to_string(live_.size()) + " connections already");
  // The policy may have changed during the handshake.
  if (!same_rights(one.key, one.with_psk, policy, *policy_))
    throw ProtocolError("its keys were taken away meanwhile");
  place = live_.insert(live_.end(), {one.link.get(), one.key, one.with_psk});
}

// The connection loop: what a client does wrong ends its connection and nothing else.
void R3Gate::serve(Channel channel, const Stop& stop) {
  std::shared_ptr<const R3Policy> policy;
  {
    std::lock_guard lock(mutex_);
    policy = policy_;
  }
  R3Accepted one;
  std::list<Live>::iterator place;
  const std::string peer = peer_of(channel.input());
  std::string error;
  try {
    one = r3_accept(std::move(channel), policy, stop, options_.opening_time);
    enter(one, place, *policy);
  } catch (const std::exception& reason) {
    --handshakes_;
    return refused(peer, reason.what());
  }
  --handshakes_;
  if (options_.on_change) options_.on_change(one.peer.name, true, {});
  try {
    server_.serve(*one.link, one.sums, one.peer, stop);
  } catch (const R3Refusal& reason) {
    refused(peer, reason.what());
    error = reason.what();
  } catch (const std::exception& ended) {
    error = ended.what();
    log_debug(peer + ": " + error);
  }
  {
    std::lock_guard lock(mutex_);
    live_.erase(place);
  }
  if (options_.on_change) options_.on_change(one.peer.name, false, error);
}

void R3Gate::set_policy(std::shared_ptr<const R3Policy> policy) {
  std::lock_guard lock(mutex_);
  policy_.swap(policy);
  for (const Live& one : live_)
    if (!same_rights(one.key, one.with_psk, *policy, *policy_)) one.link->shut_down();
}

unsigned R3Gate::connected() const {
  std::lock_guard lock(mutex_);
  return static_cast<unsigned>(live_.size());
}

}  // namespace r3
