// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/compare.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "libcommon/storage/file.hpp"
#include "libcommon/storage/hashed.hpp"

namespace r3 {
namespace {

constexpr std::uint64_t kMostHashed = 32 * MiB;  // a chunk of HASH

// Whether the chunk differs for good: what was changed here, pushed and became clean while the region was
// asked, does not the second time.
bool still_differs(Cached& cached, Backend& region, std::uint64_t chunk) {
  const auto& map = cached.chunks().map();
  std::vector<std::byte> bytes(map.length_of({chunk, 1}));
  for (int i = 0; i < 2; ++i) {
    if (!cached.chunks().read_clean({chunk, 1}, bytes)) return false;
    if (!differing(region, bytes, map.offset_of(chunk), map.chunk())[0]) return false;
  }
  return true;
}

}  // namespace

std::vector<bool> differing(Backend& region, ConstBytes bytes, std::uint64_t offset, std::uint64_t chunk) {
  std::vector<bool> result((bytes.size() + chunk - 1) / chunk);
  const auto part = [&](std::size_t i, ConstBytes all) {
    return all.subspan(i * chunk, std::min<std::uint64_t>(chunk, all.size() - i * chunk));
  };
  if (auto* r3 = dynamic_cast<R3Client*>(&region)) {
    const auto hashes = r3->hash(offset, bytes.size(), static_cast<std::uint32_t>(chunk));
    for (std::size_t i = 0; i < result.size(); ++i)
      result[i] = hashes[i] != wire::chunk_hash(part(i, bytes));
  } else if (auto* hashed = dynamic_cast<Hashed*>(&region)) {
    for (std::size_t i = 0; i < result.size(); ++i) {
      const auto own = part(i, bytes);
      result[i] = hashed->hash_of(offset + i * chunk, own.size()) != wire::chunk_hash(own);
    }
  } else {
    std::vector<std::byte> theirs(bytes.size());
    region.read_at(theirs, offset);
    for (std::size_t i = 0; i < result.size(); ++i)
      result[i] = !std::ranges::equal(part(i, bytes), part(i, theirs));
  }
  return result;
}

bool can_compare(Backend& region, std::uint64_t chunk) {
  if (dynamic_cast<FileBackend*>(&region) || dynamic_cast<Hashed*>(&region)) return true;
  auto* r3 = dynamic_cast<R3Client*>(&region);
  if (!r3 || chunk > kMostHashed) return false;
  try {
    r3->hash(0, std::min(chunk, region.size()), static_cast<std::uint32_t>(chunk));
    return true;
  } catch (const std::system_error& error) {
    if (error.code().value() == EOPNOTSUPP) return false;
    throw;
  }
}

Verified verify(Cached& cached, Backend& region, const Stop& stop) {
  const auto& map = cached.chunks().map();
  Verified result;
  std::vector<std::byte> bytes(ChunkMap::kGroup * map.chunk());
  for (std::uint64_t at = 0; at < map.chunks(); at = map.group_end(at)) {
    if (stop.requested()) {
      result.whole = false;
      return result;
    }
    for (ChunkRun run = cached.chunks().map().next_clean(at); run.count > 0;
         run = cached.chunks().map().next_clean(run.end())) {
      const Bytes part = Bytes(bytes).first(map.length_of(run));
      if (!cached.chunks().read_clean(run, part)) continue;
      result.compared += part.size();
      const auto differs = differing(region, part, map.offset_of(run.first), map.chunk());
      for (std::uint64_t i = 0; i < run.count; ++i)
        if (differs[i] && still_differs(cached, region, run.first + i)) {
          ++result.differing;
          cached.chunks().room().forget(run.first + i);
        }
      if (run.end() == map.group_end(at)) break;
    }
  }
  return result;
}

}  // namespace r3
