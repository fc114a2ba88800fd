// SPDX-License-Identifier: Apache-2.0
// Chunks of one file on their way out: their hashes, and copies of their bytes, side by side, so that they
// are compressed and sent as one. Who takes batches is an Outlet. Knows no connection.
#pragma once

#include <vector>

#include "tools/mmap-hashsync/hash_table.hpp"

namespace r3::sync {

inline constexpr std::size_t kBatchBytes = 256 * KiB;  // large enough to be compressed well
inline constexpr std::size_t kZeroBatch = 4096;        // chunks, which have no bytes

struct Entry {
  std::uint64_t index = 0;
  Hash hash;
};

struct Batch {
  std::uint32_t file = 0;
  std::vector<Entry> entries;
  std::vector<std::byte> bytes;  // of all chunks, in order; none if all are zero

  void clear() {
    entries.clear();
    bytes.clear();
  }
};

class Outlet {
 public:
  virtual ~Outlet() = default;
  // Takes what is in the batch, which may be filled anew afterwards. Any thread may call.
  virtual void send(Batch& batch) = 0;
};

// One thread's batches of one file: chunks with bytes, and chunks of zeroes.
class Batcher {
 public:
  Batcher(std::uint32_t file, const Geometry& geometry, Outlet& outlet);

  // Where to copy the next chunk; add() keeps it, another room() forgets it.
  Bytes room(std::uint64_t index);
  void add(std::uint64_t index, const Hash& hash);
  void add_zeroes(std::uint64_t index);
  void flush();

 private:
  void send(Batch& batch);

  const Geometry geometry_;
  Outlet& outlet_;
  Batch data_;
  Batch zeroes_;
  std::size_t kept_ = 0;  // bytes of data_.bytes that belong to its entries
};

}  // namespace r3::sync
