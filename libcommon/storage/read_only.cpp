// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/read_only.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

void ReadOnly::write_at(ConstBytes, std::uint64_t) {
  fail(EPERM, "write to a read-only region");
}

void ReadOnly::zero_at(std::uint64_t, std::uint64_t, ZeroHow) {
  fail(EPERM, "write to a read-only region");
}

void ReadOnly::discard_at(std::uint64_t, std::uint64_t) {
  fail(EPERM, "discard in a read-only region");
}

void ReadOnly::prefetch(std::uint64_t offset, std::uint64_t length) {
  below_->prefetch(offset, length);
}

std::vector<Extent> ReadOnly::extents(std::uint64_t offset, std::uint64_t length,
                                      std::size_t most) {
  return below_->extents(offset, length, most);
}

bool ReadOnly::try_read_at(Bytes into, std::uint64_t offset) {
  return below_->try_read_at(into, offset);
}

bool ReadOnly::try_write_at(ConstBytes, std::uint64_t) {
  fail(EPERM, "write to a read-only region");
}

ConstBytes ReadOnly::borrow(std::uint64_t offset, std::uint64_t length) {
  return below_->borrow(offset, length);
}

}  // namespace r3
