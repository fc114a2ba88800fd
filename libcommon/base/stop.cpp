// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/stop.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

// poll() that survives signals without waiting longer than asked.
int poll_until(pollfd* fds, nfds_t count, int timeout_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const int ready = ::poll(fds, count, timeout_ms);
    if (ready >= 0) return ready;
    if (errno != EINTR) fail(errno, "poll");
    if (timeout_ms < 0) continue;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    timeout_ms = left.count() > 0 ? static_cast<int>(left.count()) : 0;
  }
}

}  // namespace

Stop::Stop() : event_(check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {}

void Stop::request() noexcept {
  requested_.store(true, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] auto n = ::write(event_.get(), &one, sizeof one);
}

bool Stop::wait_for(std::chrono::milliseconds time) const {
  pollfd watched{event_.get(), POLLIN, 0};
  return poll_until(&watched, 1, static_cast<int>(time.count())) > 0;
}

void Stop::wait() const {
  pollfd watched{event_.get(), POLLIN, 0};
  poll_until(&watched, 1, kForever);
}

Wait wait_for(int fd, short events, const Stop& stop, int timeout_ms) {
  pollfd watched[2] = {{stop.fd(), POLLIN, 0}, {fd, events, 0}};
  const int ready = poll_until(watched, 2, timeout_ms);
  if (watched[0].revents) return Wait::stopped;
  return ready > 0 ? Wait::ready : Wait::timed_out;
}

}  // namespace r3
