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

bool ReadOnly::try_write_at(ConstBytes, std::uint64_t) {
  fail(EPERM, "write to a read-only region");
}

}  // namespace r3
