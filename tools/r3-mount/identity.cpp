// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/identity.hpp"

#include <filesystem>

namespace r3 {

namespace {

bool outlives_us(const Region& region) {
  const std::string& scheme = region.scheme;
  return scheme != "memory" && !scheme.ends_with("+exec") && !scheme.ends_with("+fd");
}

}  // namespace

std::string identity_of(const Region& region, const MountOptions& options) {
  const bool kept = options.direct || options.managed.on_disk() || options.device.read_only;
  if (!kept || !outlives_us(region)) return {};
  // Paths may be relative.
  std::string identity = std::filesystem::current_path().string() + '\n' + to_text(region);
  for (const std::string& part : {options.device.path, options.direct ? std::string("direct") : options.managed.cache})
    identity += '\n' + part;
  return identity;
}

}  // namespace r3
