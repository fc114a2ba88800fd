// SPDX-License-Identifier: Apache-2.0
// What runs beside the body of a tool, from before it begins until after it has ended: the signal thread,
// the control socket and the metrics. Only run() makes one.
#pragma once

#include <chrono>
#include <memory>

#include "libcommon/cli/side_server.hpp"
#include "libcommon/cli/signals.hpp"
#include "libcommon/cli/tool.hpp"

namespace r3 {

class Session {
 public:
  // Blocks the signals and listens; throws what a listener throws.
  explicit Session(Tool& tool);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

 private:
  Json own_status() const;
  void on_signal(int signal);
  bool on_hang_up();
  [[noreturn]] void leave();
  void say_status();
  void listen_for_control();
  void listen_for_metrics();

  Tool& tool_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  Signals signals_;
  std::unique_ptr<SideServer> control_;
  std::unique_ptr<SideServer> metrics_;
};

}  // namespace r3
