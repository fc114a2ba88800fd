// SPDX-License-Identifier: Apache-2.0
// Refuses every change (EPERM) to the backend below, whatever that allows; the rest is passed on.
#pragma once

#include <memory>

#include "libcommon/storage/backend.hpp"

namespace r3 {

class ReadOnly : public Backend {
 public:
  explicit ReadOnly(std::unique_ptr<Backend> below) : below_(std::move(below)) {}

  std::uint64_t size() const override { return below_->size(); }
  std::uint64_t block_size() const override { return below_->block_size(); }
  bool read_only() const override { return true; }
  bool never_waits() const override { return below_->never_waits(); }
  void read_at(Bytes into, std::uint64_t offset) override { below_->read_at(into, offset); }
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override { below_->flush(); }
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override { below_->abandon(); }

 private:
  std::unique_ptr<Backend> below_;
};

}  // namespace r3
