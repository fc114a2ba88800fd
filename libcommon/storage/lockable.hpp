// SPDX-License-Identifier: Apache-2.0
// Blocks reads and changes of the backend below until it is opened: the device of a leecher before it owns
// the region, and of a seeder from the moment at which it must not change any more. flush() passes: it is
// about writes that were let through. Knows nothing of who opens it.
#pragma once

#include <atomic>

#include "libcommon/base/gate.hpp"
#include "libcommon/storage/decorator.hpp"

namespace r3 {

class Lockable : public Decorator {
 public:
  enum class First { open, closed };

  // Borrows `below`.
  explicit Lockable(Backend& below, First first = First::open)
      : Decorator(below),
        gate_(first == First::open ? Gate::State::open : Gate::State::closed) {}

  void open() noexcept { gate_.open(); }
  // On return nothing is under way below; who comes waits.
  void close() noexcept { gate_.close(); }
  // Who waits and who comes gets this errno.
  void refuse(int error) noexcept { gate_.refuse(error); }
  bool is_open() const { return gate_.state() == Gate::State::open; }
  // Changes that wait to be let through now; the bell rings when there is one more.
  std::uint64_t waiting_changes() const { return waiting_changes_; }
  Bell& bell() { return gate_.bell(); }

  bool never_waits() const override { return false; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void read_background(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override;

 private:
  Gate gate_;
  std::atomic<std::uint64_t> waiting_changes_{0};
};

}  // namespace r3
