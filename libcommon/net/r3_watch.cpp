// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_watch.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstdint>

#include "libcommon/base/error.hpp"

namespace r3 {

HangUpWatch::HangUpWatch()
    : epoll_(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      bell_(check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  check(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, bell_.get(), &event), "epoll_ctl");
}

void HangUpWatch::add(int fd) noexcept {
  epoll_event event{};
  event.events = EPOLLRDHUP | EPOLLONESHOT;
  // Refused for what cannot be polled: its end is noticed when it is used.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void HangUpWatch::ring() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(bell_.get(), &one, sizeof one);
}

void HangUpWatch::clear() noexcept {
  std::array<epoll_event, 16> events;
  while (::epoll_wait(epoll_.get(), events.data(), events.size(), 0) > 0) {
  }
}

}  // namespace r3
