// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/swap.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

void Swap::replace(Backend& next) {
  if (next.size() != size()) fail(EINVAL, "a backend of another size");
  gate_.close();
  below_.store(&next, std::memory_order_release);
  gate_.open();
}

void Swap::read_at(Bytes into, std::uint64_t offset) {
  const Gate::Pass pass(gate_);
  below().read_at(into, offset);
}

void Swap::read_background(Bytes into, std::uint64_t offset) {
  const Gate::Pass pass(gate_);
  below().read_background(into, offset);
}

void Swap::write_at(ConstBytes from, std::uint64_t offset) {
  const Gate::Pass pass(gate_);
  below().write_at(from, offset);
}

void Swap::flush() {
  const Gate::Pass pass(gate_);
  below().flush();
}

void Swap::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  const Gate::Pass pass(gate_);
  below().zero_at(offset, length, how);
}

void Swap::discard_at(std::uint64_t offset, std::uint64_t length) {
  const Gate::Pass pass(gate_);
  below().discard_at(offset, length);
}

void Swap::prefetch(std::uint64_t offset, std::uint64_t length) {
  const Gate::Pass pass(gate_);
  below().prefetch(offset, length);
}

std::vector<Extent> Swap::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  const Gate::Pass pass(gate_);
  return below().extents(offset, length, most);
}

bool Swap::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  const Gate::Pass pass(gate_, nullptr);
  return pass && below().try_read_at(into, offset);
}

bool Swap::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  const Gate::Pass pass(gate_, nullptr);
  return pass && below().try_write_at(from, offset);
}

ConstBytes Swap::borrow(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (const Gate::Pass pass(gate_, nullptr); pass) return below().borrow(offset, length);
  return {};
}

}  // namespace r3
