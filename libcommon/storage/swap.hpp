// SPDX-License-Identifier: Apache-2.0
// A backend below that can be replaced while I/O goes on: each call uses the old one or the new one from
// beginning to end, and after replace() none uses the old one. A device stays as it is when a leecher
// becomes a plain local region. Knows nothing of what the two have in common but their size.
#pragma once

#include <atomic>

#include "libcommon/base/gate.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class Swap : public Backend {
 public:
  // Borrows the backend; all that are ever below live as long as this (borrow() gives their bytes away).
  explicit Swap(Backend& first) : below_(&first) {}

  // Waits for the calls that are under way. Throws EINVAL for another size.
  void replace(Backend& next);

  std::uint64_t size() const override { return below().size(); }
  std::uint64_t block_size() const override { return below().block_size(); }
  bool read_only() const override { return below().read_only(); }
  void read_at(Bytes into, std::uint64_t offset) override;
  void read_background(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override { below().abandon(); }

 private:
  Backend& below() const { return *below_.load(std::memory_order_acquire); }

  std::atomic<Backend*> below_;
  Gate gate_;
};

}  // namespace r3
