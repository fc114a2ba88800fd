// SPDX-License-Identifier: Apache-2.0
// How a tool tells whoever started it that it is usable: a newline on an inherited descriptor, which is
// then closed (s6), and a datagram to NOTIFY_SOCKET (sd_notify(3)). A listener that has gone away is
// ignored.
#pragma once

#include <string>
#include <string_view>

namespace r3 {

class Readiness {
 public:
  // Takes NOTIFY_SOCKET out of the environment, so that children do not speak for the tool: before any
  // thread starts. `ready_fd` is -1 or an open descriptor, which belongs to this from now on.
  explicit Readiness(int ready_fd);
  ~Readiness();
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  void ready() noexcept;
  void stopping() noexcept { notify("STOPPING=1"); }
  // One line for `systemctl status`.
  void status(std::string_view text) noexcept;

 private:
  void notify(std::string_view message) noexcept;
  void close_ready_fd() noexcept;

  int ready_fd_;
  std::string notify_socket_;
};

}  // namespace r3
