// SPDX-License-Identifier: Apache-2.0
// Bytes to write, and to find again.
#pragma once

#include <concepts>
#include <cstddef>
#include <random>
#include <vector>

namespace r3::test {

// `size` bytes of one value.
std::vector<std::byte> filled(std::size_t size, std::integral auto value) {
  return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

inline std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

}  // namespace r3::test
