// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/lockable.hpp"

namespace r3 {

void Lockable::read_at(Bytes into, std::uint64_t offset) {
  const Gate::Pass pass(gate_);
  below_.read_at(into, offset);
}

void Lockable::read_background(Bytes into, std::uint64_t offset) {
  const Gate::Pass pass(gate_);
  below_.read_background(into, offset);
}

void Lockable::write_at(ConstBytes from, std::uint64_t offset) {
  const Gate::Pass pass(gate_, waiting_changes_);
  below_.write_at(from, offset);
}

void Lockable::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  const Gate::Pass pass(gate_, waiting_changes_);
  below_.zero_at(offset, length, how);
}

void Lockable::discard_at(std::uint64_t offset, std::uint64_t length) {
  const Gate::Pass pass(gate_, waiting_changes_);
  below_.discard_at(offset, length);
}

void Lockable::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (const Gate::Pass pass(gate_, nullptr); pass) below_.prefetch(offset, length);
}

std::vector<Extent> Lockable::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  const Gate::Pass pass(gate_);
  return below_.extents(offset, length, most);
}

bool Lockable::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  const Gate::Pass pass(gate_, nullptr);
  return pass && below_.try_read_at(into, offset);
}

bool Lockable::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  const Gate::Pass pass(gate_, nullptr);
  return pass && below_.try_write_at(from, offset);
}

ConstBytes Lockable::borrow(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (const Gate::Pass pass(gate_, nullptr); pass) return below_.borrow(offset, length);
  return {};
}

void Lockable::abandon() noexcept {
  if (!is_open()) refuse(ESHUTDOWN);
  below_.abandon();
}

}  // namespace r3
