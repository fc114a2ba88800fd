// SPDX-License-Identifier: Apache-2.0
// The loop driver: a region as a block device /dev/loopN, by the kernel's loop driver on top of a
// private fuse mount. Root only. For file systems, partitions and swap; a plain file is cheaper for
// all else.
#pragma once

#include <memory>

#include "libcommon/device/driver.hpp"

namespace r3 {

// options.path, if given, becomes a symbolic link to the device. Throws EINVAL for a size that is
// not a multiple of 512.
std::unique_ptr<Device> attach_loop(Backend& backend, const DeviceOptions& options);

}  // namespace r3
