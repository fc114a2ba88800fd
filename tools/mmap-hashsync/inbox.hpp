// SPDX-License-Identifier: Apache-2.0
// Where what one source sends goes: the files of a directory (in place, by a journal, by snapshots), or a hub's
// store. One thread uses an inbox. Knows no protocol; what it is given was checked against its hashes.
#pragma once

#include "tools/mmap-hashsync/frame.hpp"

namespace r3::sync {

struct Arrival {
  std::span<const Entry> entries;
  ConstBytes bytes;  // of all the chunks, in order; none if they are zeroes
  const Frame& frame;  // as it came
};

class Inbox {
 public:
  virtual ~Inbox() = default;

  // A file that was not open yet. Throws what a refusal says.
  virtual void open(std::uint32_t id, const Announcement& file) = 0;
  // The hashes of what the file would be if the epoch were committed now, zeroes up to the announced size.
  virtual HashTable hash(std::uint32_t id, const Hasher& hasher) = 0;
  // The size that the file has at the end of this epoch. Chunks that come later lie within it.
  virtual void resize(std::uint32_t id, std::uint64_t size) = 0;
  virtual void write(std::uint32_t id, const Arrival& chunks) = 0;
  virtual void commit(std::uint64_t epoch) = 0;
  // The source needs no more.
  virtual void finish() = 0;
};

}  // namespace r3::sync
