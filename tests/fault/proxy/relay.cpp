// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/proxy/relay.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "libcommon/base/error.hpp"

namespace r3::fault {

namespace {

constexpr int kReadsATurn = 64;
const FaultPlan kNoFaults;

Nanoseconds monotonic() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

}  // namespace

Relay::Relay(Fd client, Fd target, std::uint64_t number, const Settings& settings, Totals& totals)
    : settings_(settings),
      totals_(totals),
      sides_{Side{std::move(client),
                  Lane(settings.shape, settings.faults_up ? settings.plan : kNoFaults, 2 * number,
                       totals.faults),
                  totals.up, settings.faults_up},
             Side{std::move(target),
                  Lane(settings.shape, settings.faults_down ? settings.plan : kNoFaults,
                       2 * number + 1, totals.faults),
                  totals.down, settings.faults_down}},
      poked_(check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  for (Side& side : sides_) set_nonblocking(side.socket.get(), true);
}

void Relay::cut() {
  cut_ = true;
  poke();
}

void Relay::hole(bool on) {
  hole_ = on;
  poke();
}

void Relay::poke() {
  const std::uint64_t one = 1;
  [[maybe_unused]] auto n = ::write(poked_.get(), &one, sizeof one);
}

void Relay::run(const Stop& stop) {
  // The default slack of 50 us would be added to each delay.
  ::prctl(PR_SET_TIMERSLACK, 1);
  while (!stop.requested() && pump(monotonic())) wait(stop);
}

bool Relay::pump(Nanoseconds now) {
  std::uint64_t pokes;
  [[maybe_unused]] auto n = ::read(poked_.get(), &pokes, sizeof pokes);
  if (cut_) {
    reset();
    return false;
  }
  if (hole_) return !(sides_[0].gone && sides_[1].gone);
  auto& [client, target] = sides_;
  if (!receive(client, now) || !receive(target, now) || !deliver(client, target, now) ||
      !deliver(target, client, now)) {
    reset();
    return false;
  }
  return !(client.told && target.told);
}

// False: the connection broke, and the other side shall see it.
bool Relay::receive(Side& from, Nanoseconds now) {
  std::array<std::byte, 64 * KiB> buffer;
  for (int turn = 0; turn < kReadsATurn && !from.ended; ++turn) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), bytes_wanted(from));
    if (wanted == 0) return true;
    const ssize_t got = ::recv(from.socket.get(), buffer.data(), wanted, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got < 0 && !settings_.half_open) return false;
    if (got <= 0) {
      from.ended = true;
      from.lane.end(now);
      return true;
    }
    from.received += static_cast<std::uint64_t>(got);
    from.lane.push({buffer.data(), static_cast<std::size_t>(got)}, now);
  }
  return true;
}

bool Relay::deliver(Side& from, Side& to, Nanoseconds now) {
  const std::uint64_t before = from.lane.delivered();
  const Delivery delivery = from.lane.deliver(to.socket.get(), now);
  from.total += from.lane.delivered() - before;
  from.blocked = delivery == Delivery::blocked;
  if (delivery == Delivery::broken) {
    if (!settings_.half_open) return false;
    from.lane.discard();
  }
  if (!from.lane.empty()) return true;
  if (from.subject && from.received >= settings_.reset_after) return false;
  if (from.subject && from.received >= settings_.hole_after && !hole_) {
    hole_ = true;
    ++totals_.holes;
  }
  if (from.ended && !from.told) {
    from.told = true;
    if (!settings_.half_open) ::shutdown(to.socket.get(), SHUT_WR);
  }
  return true;
}

// How many bytes may be read from that side: what ends the connection ends it at that very byte.
std::uint64_t Relay::bytes_wanted(const Side& side) const {
  if (side.lane.full()) return 0;
  if (!side.subject) return UINT64_MAX;
  return std::min(settings_.reset_after, settings_.hole_after) - side.received;
}

void Relay::wait(const Stop& stop) {
  pollfd fds[4] = {{stop.fd(), POLLIN, 0}, {poked_.get(), POLLIN, 0}, {-1, 0, 0}, {-1, 0, 0}};
  Nanoseconds due = kNever;
  for (std::size_t i = 0; i < 2; ++i) {
    const Side& side = sides_[i];
    const Side& other = sides_[1 - i];
    short events = 0;
    if (hole_) {
      if (!side.gone) events = POLLRDHUP;
    } else {
      if (!side.ended && bytes_wanted(side) > 0) events |= POLLIN;
      if (other.blocked) events |= POLLOUT;
      if (!side.blocked) due = std::min(due, side.lane.next_due());
    }
    // A descriptor without events would still report its hang-up, again and again.
    if (events != 0) fds[2 + i] = {side.socket.get(), events, 0};
  }
  timespec left{};
  if (due != kNever) {
    const Nanoseconds time = std::max<Nanoseconds>(0, due - monotonic());
    left = {static_cast<time_t>(time / 1'000'000'000), static_cast<long>(time % 1'000'000'000)};
  }
  if (::ppoll(fds, 4, due == kNever ? nullptr : &left, nullptr) < 0 && errno != EINTR)
    fail(errno, "poll");
  if (hole_)
    for (std::size_t i = 0; i < 2; ++i)
      if (fds[2 + i].revents != 0) sides_[i].gone = true;
}

void Relay::reset() {
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  for (Side& side : sides_) {
    ::setsockopt(side.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    side.socket.reset();
  }
  ++totals_.resets;
}

}  // namespace r3::fault
