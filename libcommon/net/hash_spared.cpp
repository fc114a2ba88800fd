// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/hash_spared.hpp"

#include <algorithm>

#include "libcommon/net/r3_frame.hpp"

namespace r3 {

HashSpared::HashSpared(R3Client& remote, Backend& local)
    : Decorator(remote), remote_(remote), local_(local) {}

bool HashSpared::holds_data(std::uint64_t offset, std::uint64_t length) {
  const auto found = local_.extents(offset, length, 16);
  return std::ranges::any_of(found, [](const Extent& one) { return !one.hole && !one.zero; });
}

// Neighbours that differ are read with one request.
void HashSpared::read_background(Bytes into, std::uint64_t offset) {
  if (ended_ || !holds_data(offset, into.size())) return remote_.read_background(into, offset);
  const auto theirs = remote_.hash(offset, into.size(), kChunk);
  local_.read_at(into, offset);
  std::size_t differing = 0;  // bytes, that end where the next chunk begins
  const auto read_differing = [&](std::size_t end) {
    if (differing > 0)
      remote_.read_background(into.subspan(end - differing, differing), offset + end - differing);
    differing = 0;
  };
  for (std::size_t at = 0, index = 0; at < into.size(); at += kChunk, ++index) {
    const auto chunk = into.subspan(at, std::min<std::size_t>(kChunk, into.size() - at));
    if (wire::chunk_hash(chunk) == theirs[index]) {
      read_differing(at);
      spared_ += chunk.size();
    } else {
      differing += chunk.size();
    }
  }
  read_differing(into.size());
}

}  // namespace r3
