// SPDX-License-Identifier: Apache-2.0
// What a process does with a device that it serves itself, as any other program would use it: each
// call apart (base/apart.hpp), because it may wait for this process's own answer. Returns 0 or an
// errno.
#pragma once

#include <cstdint>
#include <string>

#include "libcommon/base/bytes.hpp"

namespace r3 {

// Writes out what the kernel holds of the file or block device `path`; 0 if it cannot be opened.
int sync_own_device(const std::string& path) noexcept;
// EIO if it ends before `into` is full.
int read_own_device(const std::string& path, Bytes into, std::uint64_t offset) noexcept;

}  // namespace r3
