// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/ready.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

Readiness::Readiness(int ready_fd) : ready_fd_(ready_fd) {
  if (const char* path = std::getenv("NOTIFY_SOCKET")) notify_socket_ = path;
  ::unsetenv("NOTIFY_SOCKET");
}

Readiness::~Readiness() {
  close_ready_fd();
}

// The standard descriptors are only borrowed, even for --ready-fd 1.
void Readiness::close_ready_fd() noexcept {
  if (ready_fd_ > STDERR_FILENO) ::close(ready_fd_);
  ready_fd_ = -1;
}

void Readiness::ready() noexcept {
  if (ready_fd_ >= 0 && ::write(ready_fd_, "\n", 1) != 1) log_debug("--ready-fd: nobody reads");
  close_ready_fd();
  notify("READY=1\nSTATUS=ready");
}

void Readiness::status(std::string_view text) noexcept {
  try {
    notify("STATUS=" + std::string(text.substr(0, text.find('\n'))));
  } catch (...) {
    // Out of memory: nobody depends on the line.
  }
}

// A path, or '@' and an abstract name: sd_notify(3).
void Readiness::notify(std::string_view message) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (notify_socket_.empty() || notify_socket_.size() > sizeof address.sun_path - 1) return;
  std::memcpy(address.sun_path, notify_socket_.data(), notify_socket_.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const auto length =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + notify_socket_.size());
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::sendto(socket.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
               reinterpret_cast<const sockaddr*>(&address), length) < 0)
    log_debug("NOTIFY_SOCKET: nobody listens");
}

}  // namespace r3
