// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-serve/service.hpp"

#include <memory>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

// Longer than a client that does not read is waited for.
constexpr std::chrono::seconds kGrace{3};

}  // namespace

void Service::listen(Listener& listener) {
  group_.spawn([this, &listener] {
    for (;;) {
      auto socket = listener.accept(stop_);
      if (!socket.valid()) return;
      group_.collect();
      start(Channel(std::move(socket)), false);
    }
  });
}

void Service::serve_only(Channel channel) { start(std::move(channel), true); }

void Service::start(Channel channel, bool only_one) {
  {
    std::lock_guard lock(mutex_);
    if (connections_ == most_) {
      if (refused_++ == 0) log_warning("too many connections: more are refused");
      return;
    }
    ++connections_;
    ++accepted_;
  }
  const auto owned = std::make_shared<Channel>(std::move(channel));
  try {
    group_.spawn([this, owned, only_one] {
      serve(std::move(*owned), only_one);
      if (only_one) stop_.request();
    });
  } catch (const std::system_error& error) {
    leave();
    log_warning(std::string("a connection is refused: ") + error.what());
  }
}

// The connection loop: what goes wrong here ends one connection and nothing else.
void Service::serve(Channel channel, bool only_one) noexcept {
  try {
    if (only_one)
      server_.serve_only(std::move(channel), stop_);
    else
      server_.serve(std::move(channel), stop_);
  } catch (...) {
    log_debug("connection closed: " + text_of_current_exception());
  }
  leave();
}

void Service::leave() {
  std::lock_guard lock(mutex_);
  --connections_;
  ended_.notify_all();
}

bool Service::wait_for_end() {
  std::unique_lock lock(mutex_);
  return ended_.wait_for(lock, kGrace, [&] { return connections_ == 0; });
}

unsigned Service::connections() const {
  std::lock_guard lock(mutex_);
  return connections_;
}

std::uint64_t Service::accepted() const {
  std::lock_guard lock(mutex_);
  return accepted_;
}

std::uint64_t Service::refused() const {
  std::lock_guard lock(mutex_);
  return refused_;
}

}  // namespace r3
