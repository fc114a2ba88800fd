// SPDX-License-Identifier: Apache-2.0
// What a mount is recognised by when its process was killed and starts again (DeviceOptions::identity).
#pragma once

#include <string>

#include "tools/r3-mount/options.hpp"

namespace r3 {

// Empty if what the application wrote ends with the process: the bytes are in its memory, or a command of its own has
// them. To take over such a device would give its users other bytes than they wrote.
std::string identity_of(const Region& region, const MountOptions& options);

}  // namespace r3
