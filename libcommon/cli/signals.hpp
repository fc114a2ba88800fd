// SPDX-License-Identifier: Apache-2.0
// All signals of a tool in one place: they are blocked in every thread and read by one, so that no code
// runs in a handler. TERM, INT and HUP ask the tool to stop, unless it means something else by HUP; an
// INT after that leaves at once; USR1 asks for the status; PIPE is ignored. A HUP that was ignored at
// the start (nohup) stays ignored.
#pragma once

#include <signal.h>

#include <functional>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/tasks.hpp"

namespace r3 {

class Signals {
 public:
  struct Actions {
    std::function<void(int signal)> stop;
    std::function<void()> leave;  // does not return
    std::function<void()> status;
    std::function<bool()> hang_up = {};  // HUP: false if it is to stop like the others
  };

  // Blocks them in the calling thread and in all that it starts later.
  Signals();
  // Restores the mask.
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // From here on the actions are called, in the signal thread, until stop_reading().
  void start(Actions actions);
  void stop_reading();

 private:
  void read_all(const Actions& actions);

  sigset_t before_{};
  Fd fd_;
  TaskGroup thread_;
};

// In a child between fork and exec: every signal as a program expects it at its start.
void reset_signals_for_exec() noexcept;

}  // namespace r3
