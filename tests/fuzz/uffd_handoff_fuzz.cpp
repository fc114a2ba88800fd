// SPDX-License-Identifier: Apache-2.0
// What processes say when they hand memory over: refused, or ranges that pass the checks and mean the same
// when they are said again.
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/device/uffd_handoff.hpp"

namespace {

using namespace r3;

void require(bool holds) {
  if (!holds) std::abort();
}

// Ranges that have passed are found again wherever they are.
void use(const std::vector<UffdRange>& ranges) {
  constexpr std::uint64_t kRegion = 1 << 30;
  try {
    check_ranges(ranges, kRegion);
  } catch (const ProtocolError&) {
    return;
  }
  UffdLayout layout(ranges);
  for (const UffdRange& range : ranges) {
    const auto found = layout.at(range.address + range.length - 1);
    require(found && layout.where(found->place)->address == range.address + range.length - range.page_size);
    layout.moved(range.address, range.address ^ (std::uint64_t{1} << 50), range.page_size);
    layout.unmapped(range.address, range.length / 2 / range.page_size * range.page_size);
  }
}

void try_own(ConstBytes bytes) {
  if (bytes.size() < uffd::Header::kSize) return;
  const auto header = uffd::parse_header(bytes.first(uffd::Header::kSize));
  const auto payload = bytes.subspan(uffd::Header::kSize);
  switch (header.type) {
    case uffd::Type::hello: uffd::parse_hello(payload); break;
    case uffd::Type::region: uffd::parse_region_info(payload); break;
    case uffd::Type::pushed: uffd::parse_number(payload); break;
    case uffd::Type::map: {
      const auto map = uffd::parse_map(header, payload);
      const auto again = uffd::map_message(map);
      const auto same = uffd::parse_map(uffd::parse_header(std::span(again).first(uffd::Header::kSize)),
                                        std::span(again).subspan(uffd::Header::kSize));
      require(same.ranges == map.ranges && same.track == map.track);
      use(map.ranges);
      break;
    }
    default: break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ConstBytes bytes(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto protocol = uffd::protocol_of(bytes);
    if (protocol == uffd::Protocol::own) try_own(bytes);
    if (protocol == uffd::Protocol::original) use({uffd::parse_original(bytes.first(uffd::kOriginalSize), 1 << 20)});
    if (protocol == uffd::Protocol::firecracker)
      if (const auto ranges = uffd::parse_firecracker(as_text(bytes))) use(*ranges);
  } catch (const ProtocolError&) {
  }
  return 0;
}
