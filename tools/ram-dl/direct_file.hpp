// SPDX-License-Identifier: Apache-2.0
// A file or block device past the page cache (O_DIRECT), all of its space allocated beforehand and kept: for what
// the kernel's paging waits for, because a page cache needs memory just when there is none. Discards therefore do
// nothing: a hole would have to be filled again. What is not aligned goes through buffers made at the start.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class DirectFile : public Backend {
 public:
  // With a size: makes a file that is not there, and extends one that is shorter. A lock keeps other processes'
  // DirectFiles away (EBUSY). Throws ENOSPC if there is no room.
  explicit DirectFile(const std::string& path, std::optional<std::uint64_t> size = {});

  // False where the file system has no direct I/O (tmpfs): then it goes through the page cache.
  bool direct() const { return direct_; }

  std::uint64_t size() const override { return size_; }
  std::uint64_t block_size() const override { return 4096; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;

 private:
  static constexpr std::uint64_t kAlign = 4096;
  static constexpr std::uint64_t kBuffer = 256 * KiB;

  class Loan;  // of one of the buffers
  void allocate(std::optional<std::uint64_t> size);
  bool aligned(const std::byte* at, std::uint64_t offset, std::uint64_t length) const;
  void fetch(Bytes buffer, std::uint64_t offset);

  std::string path_;
  Fd file_;
  bool direct_ = true;
  std::uint64_t size_ = 0;
  Mapping buffers_;
  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Bytes> free_;   // guarded by mutex_
  std::shared_mutex whole_;   // alone: who writes back a block of which it changed a part
};

}  // namespace r3
