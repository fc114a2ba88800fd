// SPDX-License-Identifier: Apache-2.0
// Region helpers (r3-region-helper(7)): the program region-SCHEME serves what the scheme names, as an r3/1
// server in plain mode on its stdin and stdout, which are one socket. It is started again when it dies, and
// what a dead one may have lost is sent to it again (r3_client.hpp). Knows no scheme.
#pragma once

#include <memory>
#include <string>

#include "libcommon/net/region.hpp"

namespace r3 {

// The path of the program that serves the scheme (what a + adds is the same program's): region-SCHEME in $R3_LIBEXEC, in the installation's
// libexec/r3tools, in $PATH; empty if there is none.
std::string find_region_helper(const std::string& scheme);

// Starts the helper. Throws std::invalid_argument if there is none, or it does not take the region; what
// open_region() throws else. What the helper says goes to stderr.
std::unique_ptr<Backend> open_helped_region(const Region& region, const RegionOptions& options);

}  // namespace r3
