// SPDX-License-Identifier: Apache-2.0
// Anonymous memory as a region: the memory: region, and the double that tests use. Pages are taken
// from the system when first written, and given back when zeroed or discarded. flush() does nothing:
// memory is as durable as its process.
#pragma once

#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class MemoryBackend : public Backend {
 public:
  explicit MemoryBackend(std::uint64_t size);

  std::uint64_t size() const override { return memory_.bytes().size(); }
  bool never_waits() const override { return true; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override {}
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;

  // The memory itself, for code in this process.
  Bytes bytes() { return memory_.bytes(); }

 private:
  Mapping memory_;
  Fd pagemap_;  // invalid where the system has none: all is data then
};

}  // namespace r3
