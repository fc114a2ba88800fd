// SPDX-License-Identifier: Apache-2.0
// What a region may be besides: one that knows the hashes of its chunks without fetching them, so that a copy can be
// compared with it at little cost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace r3 {

class Hashed {
 public:
  virtual ~Hashed() = default;
  // XXH3 of 128 bits, canonical, of the range; none if that is not known for a range like this. Never waits long.
  virtual std::optional<std::array<std::byte, 16>> hash_of(std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace r3
