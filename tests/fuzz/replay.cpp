// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over files, without a fuzzer: every check replays the corpus so.
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "libcommon/base/fd.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const auto input = r3::read_small_file(argv[i], 16 << 20);
    std::fprintf(stderr, "%s: %zu bytes\n", argv[i], input.size());  // the last one before a crash
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  }
}
