// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/hooks.hpp"

#include <stdexcept>

#include "libcommon/cli/child.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {

void declare_hooks(OptionSet& set, HookOptions& options) {
  set.text("--before-sync", "COMMAND", options.before_sync,
           "run COMMAND before what was written is pushed; the push fails with it");
  set.text("--before-close", "COMMAND", options.before_close, "run COMMAND before the device goes away");
}

void Hooks::set_path(const std::string& path) {
  const std::lock_guard lock(mutex_);
  path_ = path;
}

void Hooks::before_sync() { run(options_.before_sync, "--before-sync"); }
void Hooks::before_close() { run(options_.before_close, "--before-close"); }

// Its output goes to stderr: stdout carries the path.
void Hooks::run(const std::string& command, const char* name) {
  if (command.empty()) return;
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    path = path_;
  }
  if (path.empty()) return;
  Stop late;
  const Watchdog watchdog(patience_, [] { return 0; }, [&late] { late.request(); });
  Child child({"sh", "-c", "exec >&2\n" + command}, {"R3_PATH=" + path});
  const int status = child.wait(late, std::chrono::seconds(1));
  if (late.requested())
    throw std::runtime_error(std::string(name) + ": \"" + command + "\" did not end within " +
                             std::to_string(patience_.count()) + " ms");
  if (status != 0)
    throw std::runtime_error(std::string(name) + ": \"" + command + "\" ended with status " +
                             std::to_string(status));
}

}  // namespace r3
