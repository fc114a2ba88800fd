// SPDX-License-Identifier: Apache-2.0
// What a thread waits on that looks after connections: it becomes readable when one of them is hung up, and
// when it is rung. Any thread may call. Part of r3_client.
#pragma once

#include "libcommon/base/fd.hpp"

namespace r3 {

class HangUpWatch {
 public:
  HangUpWatch();

  // Until the descriptor is closed. It says one time that it was hung up.
  void add(int fd) noexcept;
  void ring() noexcept;

  int fd() const { return epoll_.get(); }  // only to be polled
  void clear() noexcept;

 private:
  Fd epoll_, bell_;
};

}  // namespace r3
