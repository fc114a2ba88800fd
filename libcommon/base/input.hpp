// SPDX-License-Identifier: Apache-2.0
// A file that a user names to be read whole: often a plain one, but a FIFO or a terminal as well, whose
// other end takes its time. Waiting for that ends when the tool is to stop.
#pragma once

#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

// Returns at once, even for a FIFO that nobody writes to. Throws with the path in the text.
Fd open_input(const std::string& path);

// Reads to the end, or until `into` is full; returns the bytes read. Throws ECANCELED when `stop` is
// requested meanwhile; without one, ETIMEDOUT after two seconds without a byte. `path` stands in errors.
std::size_t read_input(int fd, Bytes into, const std::string& path, const Stop* stop);

}  // namespace r3
