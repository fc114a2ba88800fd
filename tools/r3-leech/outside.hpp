// SPDX-License-Identifier: Apache-2.0
// What of a take-over is seen from outside: the device, the commands that are run, the phases that events tell.
// Knows nothing of what they mean.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "libcommon/net/seeder.hpp"
#include "tools/r3-leech/options.hpp"

namespace r3 {

class Outside {
 public:
  // Borrows both.
  Outside(Tool& tool, LeechOptions& options) : tool_(tool), options_(options) {}

  // Shows the region, unless there is to be no device.
  void attach(Backend& region);
  Device* device() const { return device_.get(); }
  std::string path() const { return device_ ? device_->path() : ""; }
  // Throws what the device says.
  void detach();

  // That a command fails is said, and changes nothing else.
  void hook(const char* option, const std::string& command) const;
  // The next seeder's, for a device that stays.
  SeederActions seeder_actions();

  void phase(const char* name, const Json& more = {});
  const char* phase() const { return phase_; }

 private:
  std::vector<std::string> environment() const { return {"R3_PATH=" + path()}; }

  Tool& tool_;
  LeechOptions& options_;
  std::unique_ptr<Device> device_;
  std::atomic<const char*> phase_{"starting"};
};

}  // namespace r3
