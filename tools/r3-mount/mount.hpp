// SPDX-License-Identifier: Apache-2.0
// A region in use as a device, direct or managed: what can be asked about it, what is said of it, and its
// end, in the order that loses nothing. Knows neither drivers nor regions, only what they have in common.
#pragma once

#include <memory>
#include <string>

#include "libcommon/cli/last_words.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "tools/r3-mount/hooks.hpp"
#include "tools/r3-mount/managed.hpp"

namespace r3 {

class Mount {
 public:
  // Shows `backend` by `driver`. `managed`: the one that `backend` belongs to; none for a direct mount.
  // Borrows all but the options; asks `tool` to stop when somebody else ends the device.
  Mount(Backend& backend, Managed* managed, const std::string& driver, DeviceOptions options, Hooks& hooks,
        Tool& tool);

  const std::string& path() const { return device_->path(); }
  Json status() const;
  // Everything that was written is durable on the region. Ends a while after the tool is to stop.
  void flush();
  // Says where it is, on stdout and as an event.
  void announce();
  // What the application wrote goes to the region, then the device is taken away. Throws if anything
  // was lost. Only once.
  void end();

 private:
  void say_last_words() const;

  Backend& backend_;
  Managed* const managed_;
  Hooks& hooks_;
  Tool& tool_;
  const std::chrono::milliseconds grace_;
  const std::unique_ptr<Device> device_;
  const LastWords last_words_;
};

}  // namespace r3
