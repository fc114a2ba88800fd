// SPDX-License-Identifier: Apache-2.0
// The command of --run: started with default signals, the standard descriptors and an environment of its own, told to stop with
// TERM, and waited for through a descriptor. It does not outlive the tool, not even one that is killed.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

// An open descriptor for a command: `number` is what it is called there.
struct PassedFd {
  Fd fd;
  int number = -1;
};

class Child {
 public:
  // Starts command[0], looked up in PATH, with `environment` ("NAME=VALUE") added, and the descriptor if
  // one is passed. A command that cannot
  // be started is said on stderr and ends at once with 127 (not found) or 126. The calling thread has to
  // live as long as the child does.
  Child(const std::vector<std::string>& command, const std::vector<std::string>& environment,
        const PassedFd& passed = {});
  // Kills it if it still runs.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits until it ends; when the stop is requested it gets TERM, and KILL if that has not ended it
  // after `patience`. Returns what a shell would say: its status, or 128 + the signal.
  int wait(const Stop& stop, std::chrono::milliseconds patience = std::chrono::seconds(10));

 private:
  bool ended_within(int timeout_ms) const;
  int reap();

  pid_t pid_ = -1;  // -1 once reaped
  Fd pidfd_;
};

}  // namespace r3
