// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/side_server.hpp"

#include <sys/socket.h>
#include <sys/time.h>

#include <memory>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

constexpr unsigned kMostConnections = 16;

}  // namespace

SideServer::SideServer(Listener listener, Serve serve)
    : listener_(std::move(listener)), serve_(std::move(serve)) {
  tasks_.spawn([this] { accept_all(); });
}

SideServer::~SideServer() {
  tasks_.stop().request();
}

void SideServer::accept_all() {
  while (!tasks_.stop().requested()) {
    Fd accepted = listener_.accept(tasks_.stop());
    if (!accepted.valid()) return;
    {
      std::lock_guard lock(mutex_);
      if (connections_ == kMostConnections) continue;  // closes it
      ++connections_;
    }
    auto socket = std::make_shared<Fd>(std::move(accepted));
    tasks_.spawn([this, socket] { serve_one(*socket); });
  }
}

void SideServer::serve_one(const Fd& socket) noexcept {
  try {
    // A peer that does not read its answer cannot hold up the tool's end.
    const timeval patience{5, 0};
    check(::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience),
          "SO_SNDTIMEO");
    serve_(socket.get(), tasks_.stop());
  } catch (...) {
    log_debug(text_of_current_exception());
  }
  std::lock_guard lock(mutex_);
  --connections_;
}

}  // namespace r3
