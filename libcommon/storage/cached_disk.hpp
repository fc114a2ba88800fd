// SPDX-License-Identifier: Apache-2.0
// What a cache file asks of the system: the seam at which tests put a disk that loses what was not synced.
// Knows offsets, not what is there.
#pragma once

#include <cstdint>
#include <string>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"

namespace r3 {

class CacheDisk {
 public:
  virtual ~CacheDisk() = default;
  virtual std::uint64_t size() = 0;
  // Grows it to `size`, with the first `reserved` bytes allocated.
  virtual void grow(std::uint64_t size, std::uint64_t reserved) = 0;
  // The whole range; throws past the end.
  virtual void read(Bytes into, std::uint64_t offset) = 0;
  virtual bool try_read(Bytes into, std::uint64_t offset) = 0;
  virtual void write(ConstBytes from, std::uint64_t offset) = 0;
  // Makes the range zero, and gives its space back unless `keep`.
  virtual void punch(std::uint64_t offset, std::uint64_t length, bool keep) = 0;
  // Everything written before is durable. After a failure, what was written is anything.
  virtual void sync() = 0;
  // A part of it as memory that outlives the process, though not a power loss. Only once.
  virtual Bytes map(std::uint64_t offset, std::uint64_t length) = 0;
};

// A regular file, locked against a second user. Messages have the path.
class FileDisk : public CacheDisk {
 public:
  // Made if there is none. Throws EBUSY if another process uses it.
  explicit FileDisk(const std::string& path);

  std::uint64_t size() override;
  void grow(std::uint64_t size, std::uint64_t reserved) override;
  void read(Bytes into, std::uint64_t offset) override;
  bool try_read(Bytes into, std::uint64_t offset) override;
  void write(ConstBytes from, std::uint64_t offset) override;
  void punch(std::uint64_t offset, std::uint64_t length, bool keep) override;
  void sync() override;
  Bytes map(std::uint64_t offset, std::uint64_t length) override;

 private:
  const std::string path_;
  Fd file_;
  Mapping mapped_;
  bool in_memory_ = false;
};

}  // namespace r3
