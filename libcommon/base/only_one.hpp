// SPDX-License-Identifier: Apache-2.0
// A name that one process of this machine can hold at a time, and gives up when it ends, however it ends: tells the
// living from those who were killed.
#pragma once

#include <string>

#include "libcommon/base/fd.hpp"

namespace r3 {

// Holds `name` (up to 90 bytes) as long as the result lives; invalid if somebody else holds it. An abstract
// UNIX socket (unix(7)): nothing is left behind.
Fd hold_name(const std::string& name);

}  // namespace r3
