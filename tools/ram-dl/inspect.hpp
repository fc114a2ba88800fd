// SPDX-License-Identifier: Apache-2.0
// What a region holds, on stdout: as it is, or as lines of hexadecimal numbers for people.
#pragma once

#include <string>

#include "libcommon/storage/backend.hpp"

namespace r3 {

// Prints [offset, offset + length); length 0: to the end. EINVAL if that is not inside.
void inspect(Backend& region, std::uint64_t offset, std::uint64_t length, bool hex);

// "00001000  52 33 ...  |R3..|" for each 16 bytes, at most; a "*" stands for lines like the one before it.
class HexDump {
 public:
  explicit HexDump(std::uint64_t offset) : offset_(offset) {}
  // `bytes`: a multiple of 16, but for the last call.
  std::string lines(ConstBytes bytes);
  // The offset behind all.
  std::string end() const;

 private:
  std::uint64_t offset_;
  std::string last_;  // the bytes of the line before
  bool starred_ = false;
};

}  // namespace r3
