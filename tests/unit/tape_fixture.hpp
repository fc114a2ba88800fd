// SPDX-License-Identifier: Apache-2.0
// A tape in a file of its own, and ways to damage it.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/test_bytes.hpp"
#include "tools/regions/reel/open_tape.hpp"

namespace r3::test {

constexpr std::uint64_t kTapeChunk = 4096;

inline TapeChoice choice_of(const std::string& path, std::uint64_t size, std::uint32_t block = 0) {
  TapeChoice choice;
  choice.path = path;
  choice.size = size;
  choice.chunk = kTapeChunk;
  choice.block = block;
  return choice;
}

inline std::vector<std::byte> block_of(unsigned value) { return filled(kTapeChunk, value); }

class TapeTest : public testing::Test {
 protected:
  TapeChoice choice(std::uint64_t blocks = 16, std::uint32_t block = 0) {
    return choice_of(directory_.path() + "/tape", blocks * kTapeChunk, block);
  }
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  // The offset in the tape's file of the record at a position.
  std::uint64_t offset_at(std::uint64_t position) {
    std::ifstream file(choice().path, std::ios::binary);
    std::uint64_t offset = 0;
    for (; position > 0; --position) {
      std::array<char, 4> word{};
      file.seekg(static_cast<std::streamoff>(offset));
      file.read(word.data(), 4);
      const auto length = load_le<std::uint32_t>(reinterpret_cast<const std::byte*>(word.data())) & 0xffffff;
      offset += length == 0 ? 4 : 8 + round_up(length, 2);
    }
    return offset;
  }
  void overwrite(std::uint64_t offset, const std::string& bytes) {
    std::fstream file(choice().path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    file << bytes;
  }
  // One that is read with errors, as simulators mark them.
  void spoil(std::uint64_t position) {
    const auto offset = offset_at(position);
    std::string word(4, '\0');
    std::ifstream file(choice().path, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    file.read(word.data(), 4);
    const auto length = load_le<std::uint32_t>(reinterpret_cast<const std::byte*>(word.data()));
    word[3] = '\x80';
    overwrite(offset, word);
    overwrite(offset + 4 + round_up(length, 2), word);
  }
  TemporaryDirectory directory_;
};

}  // namespace r3::test
