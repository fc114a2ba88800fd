// SPDX-License-Identifier: Apache-2.0
// A directory as a region: one file a chunk, no file for a chunk of zeroes, so that it takes the space of
// what was written, can be copied by any tool, and concurrent writers to different chunks never wait for
// each other. A process that is killed at any moment leaves each byte as it was or as it was being
// written, and nothing to clean up. How chunks lie in files is chunk_store.hpp's, how a directory
// becomes a region directory_format.hpp's.
#pragma once

#include <array>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/chunk_store.hpp"
#include "libcommon/storage/directory_format.hpp"

namespace r3 {

class DirectoryBackend : public Backend {
 public:
  // Opens or makes it: see open_region_directory.
  DirectoryBackend(const std::string& path, const DirectoryOptions& options);

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return 4096; }
  bool read_only() const override { return read_only_; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  // The data and the names of the chunks; the first one after opening also what a process that was
  // killed has left. After one failure, every further flush fails too.
  void flush() override;
  // Whole chunks are removed, parts become holes.
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  // To the granularity of chunks.
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;

  std::uint64_t chunk_size() const { return chunk_size_; }
  std::size_t open_now() { return store_.open_now(); }

 private:
  // The part of a range that lies in one chunk.
  struct Part {
    std::uint64_t chunk;
    std::uint64_t offset;  // in the chunk
    std::uint64_t length;
  };
  // What flush has to make durable: named while they are few.
  struct Changes {
    std::vector<std::uint64_t> data;   // chunks
    std::vector<std::uint64_t> names;  // chunks whose name appeared or vanished
    bool many = false;
  };
  // Chunks share locks by number.
  struct alignas(64) Stripe {
    std::shared_mutex existence;  // shared: I/O on the file of a chunk; alone: making or removing it
    std::mutex mutex;
    Changes changes;  // guarded by mutex
  };

  DirectoryBackend(OpenedDirectory opened, const std::string& path, const DirectoryOptions& options);

  Part part_at(std::uint64_t offset, std::uint64_t end) const;
  std::uint64_t chunk_length(std::uint64_t chunk) const;
  bool whole(const Part& part) const { return part.length == chunk_length(part.chunk); }
  Stripe& stripe(std::uint64_t chunk) { return stripes_[chunk % stripes_.size()]; }
  void note(std::uint64_t chunk, std::vector<std::uint64_t> Changes::*list);
  void check_write(std::uint64_t offset, std::uint64_t length) const;
  // How far there is no folder from `offset` on, so certainly no chunk; 0 if there is one.
  std::uint64_t without_folder(std::uint64_t offset, std::uint64_t end);

  void read_part(const Part& part, Bytes into);
  // What `action` says about the file of the chunk, which is made if it is missing.
  template <class Action>
  bool change_part(const Part& part, Action action);
  // False if the file system cannot do it without writing.
  bool zero_part(const Part& part, bool keep_allocated);
  Changes take_changes();
  void make_durable(const Changes& changes);

  const std::string name_;
  const bool read_only_;
  const Fd lock_;
  const std::uint64_t size_;
  const std::uint64_t chunk_size_;
  ChunkStore store_;
  std::array<Stripe, 128> stripes_;

  std::mutex flushing_;   // one flush at a time: the second must not overtake the work of the first
  int flush_error_ = 0;   // guarded by flushing_
};

}  // namespace r3
