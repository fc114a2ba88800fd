// SPDX-License-Identifier: Apache-2.0
// What the backends that keep bytes in files share: ranges of one open file that are made zero, given
// back, or asked about. Knows descriptors and ranges, not who they belong to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libcommon/storage/backend.hpp"

namespace r3 {

// Makes the range zero without writing it. False if the system cannot do that for this file (then
// nothing has changed); throws, with `name` in the text, on any other failure. With `keep_allocated`
// the space stays reserved, otherwise it is given back.
bool zero_quickly(int fd, std::uint64_t offset, std::uint64_t length, bool keep_allocated,
                  const std::string& name);

// Fills `into` from what is in memory already: false if it is not all there, or not known to be.
bool read_without_waiting(int fd, Bytes into, std::uint64_t offset);

// Appends what SEEK_DATA and SEEK_HOLE say about the range, until there are more than `most` extents.
// A hole is only claimed for bytes of the file as it is now: past its end, and where the file cannot
// tell, everything is data. Ends even if the file changes all the time.
void append_file_extents(std::vector<Extent>& found, int fd, std::uint64_t offset,
                         std::uint64_t length, std::size_t most);

}  // namespace r3
