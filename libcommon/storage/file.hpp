// SPDX-License-Identifier: Apache-2.0
// A regular file or a block device as a region, through the page cache. The region keeps the size that
// the file had when it was opened. A file that somebody shortens does no harm: what lies past its end
// now fails with EIO, for reads (which would otherwise invent zeroes) and for writes (which would
// otherwise grow it again around bytes that are lost). Knows nothing of formats inside the file.
#pragma once

#include <atomic>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class FileBackend : public Backend {
 public:
  // Directories, fifos, sockets and character devices are refused, without being opened. A block
  // device that is read-only makes a region that is.
  FileBackend(const std::string& path, bool read_only);
  // Takes the descriptor, read-only if it was opened so; `name` stands for it in messages.
  FileBackend(Fd file, std::string name);

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return 4096; }
  bool read_only() const override { return read_only_; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  // fdatasync. The system forgets a write that failed once it has told: after one failure, every
  // further flush fails too.
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  // Gives the space back; where the system cannot do that, nothing happens.
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  // Into the page cache, when that needs no read first. May be slowed down by the system when it has
  // too many dirty pages.
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  // What is in the page cache already. Ranges below 16 KiB are not lent: copying them is cheaper than
  // finding out.
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;

 private:
  void map_if_possible();
  bool inside_now(std::uint64_t end) const;
  void check_write(std::uint64_t offset, std::uint64_t length) const;

  Fd file_;
  std::string name_;
  bool read_only_ = false;
  bool block_device_ = false;
  bool in_memory_ = false;  // on tmpfs
  std::uint64_t size_ = 0;
  Mapping mapping_;  // of the whole file; empty if it cannot be had
  std::atomic<int> flush_error_{0};
};

}  // namespace r3
