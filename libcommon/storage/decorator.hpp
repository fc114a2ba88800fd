// SPDX-License-Identifier: Apache-2.0
// What a decorator of a Backend is that changes nothing: every call goes to the one below. Decorators that
// change a few of them derive from it.
#pragma once

#include "libcommon/storage/backend.hpp"

namespace r3 {

class Decorator : public Backend {
 public:
  // Borrows `below`.
  explicit Decorator(Backend& below) : below_(below) {}

  std::uint64_t size() const override { return below_.size(); }
  std::uint64_t block_size() const override { return below_.block_size(); }
  bool read_only() const override { return below_.read_only(); }
  bool never_waits() const override { return below_.never_waits(); }
  void read_at(Bytes into, std::uint64_t offset) override { below_.read_at(into, offset); }
  void read_background(Bytes into, std::uint64_t offset) override {
    below_.read_background(into, offset);
  }
  void write_at(ConstBytes from, std::uint64_t offset) override { below_.write_at(from, offset); }
  void flush() override { below_.flush(); }
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override {
    below_.zero_at(offset, length, how);
  }
  void discard_at(std::uint64_t offset, std::uint64_t length) override {
    below_.discard_at(offset, length);
  }
  void prefetch(std::uint64_t offset, std::uint64_t length) override {
    below_.prefetch(offset, length);
  }
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override {
    return below_.extents(offset, length, most);
  }
  bool try_read_at(Bytes into, std::uint64_t offset) override {
    return below_.try_read_at(into, offset);
  }
  bool try_write_at(ConstBytes from, std::uint64_t offset) override {
    return below_.try_write_at(from, offset);
  }
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override {
    return below_.borrow(offset, length);
  }
  void abandon() noexcept override { below_.abandon(); }

 protected:
  Backend& below_;
};

}  // namespace r3
