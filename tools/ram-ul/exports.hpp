// SPDX-License-Identifier: Apache-2.0
// ram-ul's arguments as exports: [NAME=]REGION, where a bare size is memory. Opens the regions and keeps them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libcommon/net/keys.hpp"
#include "libcommon/net/r3_server.hpp"
#include "libcommon/net/shared_regions.hpp"

namespace r3 {

class Exports {
 public:
  // Throws std::invalid_argument for bad text or a name that is there twice.
  Exports(const std::vector<std::string>& arguments, const RegionOptions& options);

  const std::vector<R3Export>& list() const { return exports_; }
  SharedRegions& regions() { return regions_; }

 private:
  SharedRegions regions_;
  std::vector<R3Export> exports_;
};

// The REGION by which clients reach the export there; `server` is the key that they need, if there is one.
Region region_for_clients(const Address& listener, const std::string& name,
                          const std::optional<PublicKey>& server);

}  // namespace r3
