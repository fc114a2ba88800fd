// SPDX-License-Identifier: Apache-2.0
// The hash by which chunks are told apart: XXH3-128 under a secret that each connection draws anew, so that
// whoever writes a file cannot prepare two chunks that look alike. A chunk of zeroes has the hash zero, which
// makes holes free. Knows bytes, not files.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "libcommon/base/bytes.hpp"

namespace r3::sync {

struct Hash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Hash&, const Hash&) = default;
};
static_assert(sizeof(Hash) == 16);

inline constexpr std::size_t kSecretSize = 192;
using HashSecret = std::array<std::byte, kSecretSize>;

// From the system's random numbers.
HashSecret draw_secret();

// Any thread may use it.
class Hasher {
 public:
  explicit Hasher(const HashSecret& secret) : secret_(secret) {}

  Hash of(ConstBytes chunk) const;
  // Of the level above; zero if all of them are.
  Hash of_hashes(std::span<const Hash> hashes) const;
  const HashSecret& secret() const { return secret_; }

 private:
  HashSecret secret_;
};

// XXH3-64: against damage of frames and records, not a secret.
std::uint64_t checksum(ConstBytes first, ConstBytes second = {});

void store_hash(std::byte* to, const Hash& hash);
Hash load_hash(const std::byte* from);

}  // namespace r3::sync
