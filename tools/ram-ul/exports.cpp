// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-ul/exports.hpp"

#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "libcommon/net/r3_frame.hpp"

namespace r3 {

namespace {

// A name ends at the first '=' unless that belongs to the region already.
std::string take_name(std::string& argument) {
  const auto end = argument.find_first_of("=:/?");
  if (end == argument.npos || argument[end] != '=') return {};
  const std::string name = argument.substr(0, end);
  argument.erase(0, end + 1);
  return name;
}

Region region_of(const std::string& text) {
  const bool size = !text.empty() && text.find_first_not_of("0123456789.KMGTkmgt") == text.npos &&
                    text[0] >= '0' && text[0] <= '9';
  return parse_region(size ? "memory:" + text : text);
}

}  // namespace

Exports::Exports(const std::vector<std::string>& arguments, const RegionOptions& options) {
  for (std::string argument : arguments) {
    R3Export exported;
    exported.name = take_name(argument);
    if (exported.name.size() > wire::kMaxExportName)
      throw std::invalid_argument("the name of an export has 255 bytes at most, not " +
                                  std::to_string(exported.name.size()));
    for (const R3Export& other : exports_)
      if (other.name == exported.name)
        throw std::invalid_argument("two exports are named '" + exported.name +
                                    "'; NAME=REGION gives each its own");
    const Region region = region_of(argument);
    exported.backend = &regions_.open(region, options);
    exported.read_only = options.read_only;
    exported.volatile_content = region.scheme == "memory";
    exports_.push_back(std::move(exported));
  }
}

Region region_for_clients(const Address& listener, const std::string& name,
                          const std::optional<PublicKey>& server) {
  Region region;
  region.rest = name;
  region.address = listener;
  region.scheme = listener.kind == Address::Kind::tcp ? "r3" : "r3+vsock";
  if (listener.kind == Address::Kind::unix_socket) {
    region.scheme = "r3+unix";
    std::string path = listener.path;
    if (path.starts_with('@')) path[0] = '\0';
    region.parameters["socket"] = path;
  }
  if (server) region.parameters["server-key"] = to_text(*server);
  return region;
}

}  // namespace r3
