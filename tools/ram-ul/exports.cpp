// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-ul/exports.hpp"

#include <stdexcept>

#include "libcommon/base/sizes.hpp"

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
    for (const R3Export& other : exports_)
      if (other.name == exported.name)
        throw std::invalid_argument("two exports are named '" + exported.name +
                                    "'; NAME=REGION gives each its own");
    const Region region = region_of(argument);
    regions_.push_back(open_region(region, options));
    exported.backend = regions_.back().get();
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

std::uint64_t Exports::size() const {
  std::uint64_t size = 0;
  for (const auto& region : regions_) size += region->size();
  return size;
}

void Exports::abandon() noexcept {
  for (const auto& region : regions_) region->abandon();
}

void Exports::flush() {
  for (const auto& region : regions_)
    if (!region->read_only()) region->flush();
}

}  // namespace r3
