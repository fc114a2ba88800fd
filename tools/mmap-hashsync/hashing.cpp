// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hashing.hpp"

#include <sys/random.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // the widest vectors that this machine has, without -march
#else
#include <xxhash.h>
#endif

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::sync {

HashSecret draw_secret() {
  HashSecret secret;
  check(::getrandom(secret.data(), secret.size(), 0), "getrandom");
  return secret;
}

Hash Hasher::of(ConstBytes chunk) const {
  if (all_zero(chunk)) return {};
  const auto value = XXH3_128bits_withSecret(chunk.data(), chunk.size(), secret_.data(), secret_.size());
  return {value.low64, value.high64};
}

Hash Hasher::of_hashes(std::span<const Hash> hashes) const { return of(std::as_bytes(hashes)); }

std::uint64_t checksum(ConstBytes first, ConstBytes second) {
  const std::uint64_t head = XXH3_64bits(first.data(), first.size());
  return second.empty() ? head : XXH3_64bits_withSeed(second.data(), second.size(), head);
}

void store_hash(std::byte* to, const Hash& hash) {
  store_le(to, hash.low);
  store_le(to + 8, hash.high);
}

Hash load_hash(const std::byte* from) {
  return {load_le<std::uint64_t>(from), load_le<std::uint64_t>(from + 8)};
}

}  // namespace r3::sync
