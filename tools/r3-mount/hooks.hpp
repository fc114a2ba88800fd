// SPDX-License-Identifier: Apache-2.0
// Commands of the user's that are run at certain moments of a mount, with R3_PATH set: before an epoch is
// sealed, so that an application can put itself in order, and before the device goes away. Any thread.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "libcommon/cli/options.hpp"

namespace r3 {

struct HookOptions {
  std::string before_sync = {};
  std::string before_close = {};
};

void declare_hooks(OptionSet& set, HookOptions& options);

class Hooks {
 public:
  // A command that runs for longer than `patience` is killed, and has failed.
  Hooks(const HookOptions& options, std::chrono::milliseconds patience)
      : options_(options), patience_(patience) {}

  // Of the device, once there is one: nothing is run before.
  void set_path(const std::string& path);
  // Throw std::runtime_error when the command fails.
  void before_sync();
  void before_close();

 private:
  void run(const std::string& command, const char* name);

  const HookOptions options_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::string path_;  // guarded by mutex_
};

}  // namespace r3
