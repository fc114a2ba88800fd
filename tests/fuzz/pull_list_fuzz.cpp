// SPDX-License-Identifier: Apache-2.0
// Text of any kind as an order: refused with a line number, or ranges that lie in the region.
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "libcommon/storage/pull_list.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto require = [](bool holds) {
    if (!holds) std::abort();
  };
  for (const std::uint64_t region : {std::uint64_t{0}, std::uint64_t{65536}, ~std::uint64_t{0}}) {
    try {
      const r3::PullList list = r3::parse_pull_list(text, "list", region);
      for (const r3::PullRange& range : list.ranges) {
        require(range.length > 0 && range.offset < region && range.length <= region - range.offset);
        require(r3::parse_pull_list(to_text(range), "line", region).ranges.front() == range);
      }
    } catch (const std::invalid_argument& error) {
      require(std::string_view(error.what()).starts_with("list: line "));
    }
  }
  return 0;
}
