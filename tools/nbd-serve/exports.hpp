// SPDX-License-Identifier: Apache-2.0
// What nbd-serve shares: NAME=REGION on the command line, and the URIs under which clients find it.
#pragma once

#include <string>
#include <string_view>

#include "libcommon/net/address.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

struct NamedRegion {
  std::string name;  // "" without NAME=
  Region region;
};

// NAME consists of letters, digits, '.', '_' and '-'; what is the path of an existing file is a region
// as a whole, so that files with a '=' in their names need no quoting.
NamedRegion parse_named_region(const std::string& text);

// The NBD URI (doc/uri.md of the NBD project) of an export at a listener; empty for a descriptor.
std::string export_uri(const Address& address, const std::string& name);

}  // namespace r3
