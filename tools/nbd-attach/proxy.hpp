// SPDX-License-Identifier: Apache-2.0
// Carries a connection that the kernel's NBD client does not take (vsock) through a socket pair that it does. Both
// ends end together, and with this process.
#pragma once

#include <atomic>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

class Proxy {
 public:
  explicit Proxy(Channel far);
  // Cuts the connection.
  ~Proxy() { cut(); }

  // The kernel's end. To be closed once the kernel has it, or the end of the kernel's is not seen.
  int near() const { return theirs_.get(); }
  void given() { theirs_.reset(); }
  bool ended() const { return ended_; }

 private:
  void carry(int from, int to) noexcept;
  void cut() noexcept;

  Channel far_;
  Fd ours_, theirs_;
  std::atomic<bool> ended_{false};
  TaskGroup threads_;  // last: its threads use the above
};

}  // namespace r3
