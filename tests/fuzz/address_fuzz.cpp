// SPDX-License-Identifier: Apache-2.0
// Text of any kind as an address, a region and percent-encoding: refused, or understood and said again
// in a form that means the same.
#include <cstdlib>
#include <stdexcept>

#include "libcommon/net/address.hpp"
#include "libcommon/net/region.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void try_address(std::string_view text) {
  r3::Address address;
  try {
    address = r3::parse_address(text);
  } catch (const std::invalid_argument&) {
    return;
  }
  require(r3::parse_address(to_text(address)) == address);
  is_local(address);
}

void try_region(std::string_view text) {
  r3::Region region;
  try {
    region = r3::parse_region(text);
  } catch (const std::invalid_argument&) {
    return;
  }
  const r3::Region again = r3::parse_region(to_text(region));
  require(again.scheme == region.scheme && again.rest == region.rest && again.size == region.size);
  require(again.parameters == region.parameters && again.address == region.address);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_address(text);
  try_region(text);
  require(r3::percent_decode(r3::percent_encode(text)) == text);
  return 0;
}
