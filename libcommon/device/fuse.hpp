// SPDX-License-Identifier: Apache-2.0
// The fuse driver: a region as a regular file, by a FUSE mount on that file. Root mounts for
// everybody (ordinary permissions decide), other users through fusermount3 for themselves, and for
// others only where /etc/fuse.conf allows it.
#pragma once

#include <memory>

#include "libcommon/device/driver.hpp"

namespace r3 {

std::unique_ptr<Device> attach_fuse(Backend& backend, const DeviceOptions& options);

}  // namespace r3
