// SPDX-License-Identifier: Apache-2.0
// Counts what passes to the backend below, so that whoever serves it to a kernel or a client need not.
#pragma once

#include <atomic>

#include "libcommon/storage/backend.hpp"

namespace r3 {

class Counted : public Backend {
 public:
  // Borrows `below`.
  explicit Counted(Backend& below) : below_(below) {}

  // Since it was made, but for `waiting`: reads, writes and the like that are under way and may wait. Any thread.
  struct Numbers {
    std::uint64_t reads = 0;
    std::uint64_t read_bytes = 0;
    std::uint64_t writes = 0;
    std::uint64_t written_bytes = 0;
    std::uint64_t waiting = 0;
    std::uint64_t lost_bytes = 0;  // of writes that were refused
    std::uint64_t ended = 0;       // calls of any kind that have come to an end
  };
  Numbers numbers() const;

  std::uint64_t size() const override { return below_.size(); }
  std::uint64_t block_size() const override { return below_.block_size(); }
  bool read_only() const override { return below_.read_only(); }
  bool never_waits() const override { return below_.never_waits(); }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override { below_.prefetch(offset, length); }
  void read_background(Bytes into, std::uint64_t offset) override { below_.read_background(into, offset); }
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override {
    return below_.extents(offset, length, most);
  }
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override { below_.abandon(); }

 private:
  struct Call;
  using Number = std::atomic<std::uint64_t>;
  void count_read(std::uint64_t length) noexcept;
  void count_write(std::uint64_t length) noexcept;

  Backend& below_;
  Number reads_{0}, read_bytes_{0}, writes_{0}, written_bytes_{0}, waiting_{0}, lost_bytes_{0}, ended_{0};
};

}  // namespace r3
