// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/hook.hpp"

#include <atomic>
#include <stdexcept>

#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/child.hpp"

namespace r3 {

void run_hook(const Hook& hook, const std::vector<std::string>& environment,
              std::chrono::milliseconds limit) {
  if (hook.command.empty()) return;
  Child child({"sh", "-c", "exec >&2\n" + hook.command}, environment);
  Stop over;
  int status = 0;
  std::atomic<bool> late{false};
  {
    TaskGroup timer;
    timer.spawn([&] {
      if (timer.stop().wait_for(limit)) return;
      late = true;
      over.request();
    });
    status = child.wait(over, std::chrono::seconds(1));
  }
  const std::string name = hook.option + " \"" + hook.command + "\"";
  if (late) throw std::runtime_error(name + ": did not end within " + std::to_string(limit.count()) + " ms");
  if (status != 0) throw std::runtime_error(name + ": ended with status " + std::to_string(status));
}

}  // namespace r3
