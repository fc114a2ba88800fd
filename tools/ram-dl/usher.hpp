// SPDX-License-Identifier: Apache-2.0
// Turns swap on and off, in a process of its own. swapoff(2) does I/O on the device that this program serves and
// takes memory for all that comes back. A thread of ours that stood in it would keep our descriptors, and so the
// device, from ending after a kill -9; and the kernel's choice of whom to kill when memory runs out then is whoever
// is inside swapoff, with all that share its memory: that has to be a process that serves nothing.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <string>

#include "libcommon/base/fd.hpp"

namespace r3 {

// Whether swapoff may succeed when there is more memory.
inline bool for_want_of_memory(int error) { return error == ENOMEM || error == EINTR || error == EOWNERDEAD; }

class SwapUsher {
 public:
  // Forks: before this process becomes resident, of which the other one is to have nothing.
  SwapUsher();
  // Ends with this process, or with what it is doing.
  ~SwapUsher();
  SwapUsher(const SwapUsher&) = delete;
  SwapUsher& operator=(const SwapUsher&) = delete;

  // swapon(2). Throws its errno.
  void swap_on(const std::string& path, int flags);

  // swapoff(2) in two halves, for who wants to look on meanwhile.
  void begin_swap_off(const std::string& path);
  // Its errno, 0 if it is done; none after `patience`. EOWNERDEAD: it was killed, for want of memory.
  std::optional<int> swap_off_result(std::chrono::milliseconds patience);

 private:
  void ask(char what, const std::string& path, int flags);

  Fd socket_;
  pid_t pid_ = -1;
};

}  // namespace r3
