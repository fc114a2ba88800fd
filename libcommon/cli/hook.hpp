// SPDX-License-Identifier: Apache-2.0
// A command of the user's that is run at a certain point (--on-suspend and the like), and waited for.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace r3 {

struct Hook {
  std::string option;   // "--on-suspend", for messages
  std::string command;  // for sh; empty: there is none
};

// Runs it with `environment` ("NAME=VALUE") added, its stdout on stderr. Throws std::runtime_error, with the
// option, when it cannot be run, ends with another status than 0, or does not end within `limit`: then it
// gets TERM, and KILL a second later.
void run_hook(const Hook& hook, const std::vector<std::string>& environment,
              std::chrono::milliseconds limit);

}  // namespace r3
