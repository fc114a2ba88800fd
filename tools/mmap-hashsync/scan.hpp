// SPDX-License-Identifier: Apache-2.0
// Looks at all of a file, or parts of it, with several threads: what are its hashes, and which chunks are not
// what they were. Copies each changed chunk first, then hashes the copy, and hands out that copy: the file may
// change under it at any moment. Holes are never touched: on tmpfs that would allocate them.
#pragma once

#include <span>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "tools/mmap-hashsync/batch.hpp"
#include "tools/mmap-hashsync/file_view.hpp"

namespace r3::sync {

// Chunks in a row.
struct Run {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  bool hole = false;
};

// All chunks of the file, in order.
std::vector<Run> runs_of(const FileView& file, const Geometry& geometry);

struct Scan {
  const Hasher& hasher;
  unsigned threads = 1;
};

// Sets `into` (which has its geometry already) to the hashes of the file.
void hash_file(const Scan& scan, const FileView& file, HashTable& into);

// Sends those chunks of the runs (in order) that differ from `known` as batches of file number `id`, and sets
// `known` to what was sent. With a shadow (a copy of the file as it was sent), bytes are compared instead of
// hashes; one that does not hold anything yet (`fresh`) is filled. Returns the number of chunks sent.
struct Shadow {
  Mapping copy;
  bool fresh = true;
};
std::uint64_t send_changes(const Scan& scan, const FileView& file, std::span<const Run> runs,
                           HashTable& known, std::uint32_t id, Outlet& outlet,
                           Shadow* shadow = nullptr);

}  // namespace r3::sync
