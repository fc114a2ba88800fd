// SPDX-License-Identifier: Apache-2.0
// Who uses a block device, and taking it away from nobody. Reads sysfs and /proc, so it cannot hang on a
// device that is dead; only flush_device() touches the device.
#pragma once

#include <string>
#include <vector>

#include "libcommon/device/nbd_kernel.hpp"

namespace r3 {

// "mounted at /mnt", "swap", "held by dm-0"; empty if nobody uses the device or one of its partitions in a way
// that would lose data. Who has merely opened it is not counted.
std::vector<std::string> uses_of(const NbdDevice& device);

// What the page cache holds of it reaches the server, and is durable there. Waits as long as the device does.
void flush_device(const std::string& path);

// Ends what is attached at `index`: flushed first, and only if nobody uses it (EBUSY, and the uses in the
// text), or at once with `force`. ENOTCONN: nothing is attached.
void detach_device(unsigned index, bool force);

}  // namespace r3
