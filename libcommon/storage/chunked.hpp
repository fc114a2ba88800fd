// SPDX-License-Identifier: Apache-2.0
// Any offset and length above, whole aligned chunks below (the last one as short as the size makes it):
// for what is below that knows nothing smaller. Writes of whole chunks go straight down; a chunk that is
// written in part is read, changed and written back, alone with it.
#pragma once

#include <array>
#include <memory>
#include <shared_mutex>

#include "libcommon/storage/backend.hpp"

namespace r3 {

enum class ChunkReads { whole, any };  // what the backend below can do no less than

class Chunked : public Backend {
 public:
  // `chunk`: a power of two up to 64 MiB.
  Chunked(std::unique_ptr<Backend> below, std::uint64_t chunk, ChunkReads reads = ChunkReads::whole);

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return chunk_; }
  bool read_only() const override { return below_->read_only(); }
  bool never_waits() const override { return below_->never_waits(); }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override { below_->flush(); }
  // Whole chunks as the one below does it, parts of chunks by writing.
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  // Whole chunks only.
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override { below_->abandon(); }

 private:
  static constexpr std::size_t kLocks = 32;  // ThreadSanitizer takes 64 at once, in all

  struct Range {
    std::uint64_t offset;
    std::uint64_t length;
  };
  // A range cut at chunk borders; any of the three may be empty.
  struct Pieces {
    Range head;    // the end of a chunk, or the inside of one
    Range middle;  // whole chunks
    Range tail;    // the start of a chunk
  };

  Pieces cut(std::uint64_t offset, std::uint64_t length) const;
  // The chunks that a range touches.
  Range around(std::uint64_t offset, std::uint64_t length) const;
  bool aligned(std::uint64_t offset, std::uint64_t length) const;
  void check_change(std::uint64_t offset, std::uint64_t length) const;

  void read_part(Bytes into, std::uint64_t offset);
  void write_part(ConstBytes from, std::uint64_t offset);
  void zero_part(const Range& part);
  // Calls action(offset, length) for the whole chunks of `range`, some at a time, with their locks held.
  template <class Action>
  void with_chunks_shared(const Range& range, Action action);

  const std::unique_ptr<Backend> below_;
  const std::uint64_t size_;
  const std::uint64_t chunk_;
  const ChunkReads reads_;
  // Chunks share locks by number. Alone: a chunk is being read, changed and written back; shared: whole
  // chunks are written, which must not happen between that reading and writing back.
  std::array<std::shared_mutex, kLocks> locks_;
};

}  // namespace r3
