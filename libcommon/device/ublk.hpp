// SPDX-License-Identifier: Apache-2.0
// The ublk driver: a region as a block device /dev/ublkbN, served by this process alone. Root only; Linux 6.0.
#pragma once

#include <memory>

#include "libcommon/device/driver.hpp"

namespace r3 {

// options.path, if given, becomes a symbolic link to the device. Throws EINVAL for a size that is not a multiple
// of 512, ENODEV where the kernel has no ublk.
std::unique_ptr<Device> attach_ublk(Backend& backend, const DeviceOptions& options);

}  // namespace r3
