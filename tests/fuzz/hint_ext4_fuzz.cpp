// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/hint_target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return r3::fuzz::try_hint(r3::hint_ext4, data, size);
}
