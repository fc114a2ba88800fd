// SPDX-License-Identifier: Apache-2.0
// Regions that are computed, of any size and for nothing: pattern: (each 8-byte word, little-endian,
// is its own offset, so that every misplaced byte shows) and zero: (all zeroes). Both are read-only.
#pragma once

#include "libcommon/storage/backend.hpp"

namespace r3 {

class PatternBackend : public Backend {
 public:
  explicit PatternBackend(std::uint64_t size) : size_(size) {}

  std::uint64_t size() const override { return size_; }
  bool never_waits() const override { return true; }
  bool read_only() const override { return true; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override {}
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;

 private:
  std::uint64_t size_;
};

class ZeroBackend : public Backend {
 public:
  explicit ZeroBackend(std::uint64_t size) : size_(size) {}

  std::uint64_t size() const override { return size_; }
  bool never_waits() const override { return true; }
  bool read_only() const override { return true; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override {}
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;

 private:
  std::uint64_t size_;
};

}  // namespace r3
