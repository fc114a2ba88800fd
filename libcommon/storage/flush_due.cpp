// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/flush_due.hpp"

namespace r3 {

void FlushDue::write_at(ConstBytes from, std::uint64_t offset) {
  below_.write_at(from, offset);
  ++changes_;
}

void FlushDue::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  below_.zero_at(offset, length, how);
  ++changes_;
}

void FlushDue::discard_at(std::uint64_t offset, std::uint64_t length) {
  below_.discard_at(offset, length);
  ++changes_;
}

bool FlushDue::try_write_at(ConstBytes from, std::uint64_t offset) {
  if (!below_.try_write_at(from, offset)) return false;
  ++changes_;
  return true;
}

void FlushDue::flush() {
  const std::uint64_t covered = changes_;
  below_.flush();
  std::uint64_t before = flushed_;
  while (before < covered && !flushed_.compare_exchange_weak(before, covered)) {
  }
}

}  // namespace r3
