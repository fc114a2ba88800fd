// SPDX-License-Identifier: Apache-2.0
// The nbd driver: a region as a block device /dev/nbdN. The kernel's NBD client is the one side, the project's own NBD
// server the other, over socket pairs. Root only. Of libcommon/device only this driver knows libcommon/net.
#pragma once

#include <memory>

#include "libcommon/device/driver.hpp"

namespace r3 {

// options.path, if given, becomes a symbolic link to the device. Throws EINVAL for a size that is not a multiple
// of 512, ENODEV where the kernel has no NBD client, EBUSY if all its devices are in use.
std::unique_ptr<Device> attach_nbd(Backend& backend, const DeviceOptions& options);

}  // namespace r3
