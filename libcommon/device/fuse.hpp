// SPDX-License-Identifier: Apache-2.0
// The fuse driver: a region as a regular file, by a FUSE mount on that file. Root mounts for
// everybody (ordinary permissions decide), other users through fusermount3 for themselves, and for
// others only where /etc/fuse.conf allows it.
#pragma once

#include <chrono>
#include <memory>

#include "libcommon/device/driver.hpp"

namespace r3 {

class FuseFile : public Device {
 public:
  // detach(), for somebody whose own users have been waited for: users of the file have until then.
  virtual void detach_by(std::chrono::steady_clock::time_point then) = 0;
};

std::unique_ptr<FuseFile> attach_fuse_file(Backend& backend, const DeviceOptions& options);
std::unique_ptr<Device> attach_fuse(Backend& backend, const DeviceOptions& options);

}  // namespace r3
