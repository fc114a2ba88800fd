// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pattern.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kWord = 8;

// Copies the part of the word around `offset` that `into` has room for; returns the bytes copied.
std::size_t put_part_of_word(Bytes into, std::uint64_t offset) {
  std::array<std::byte, kWord> word;
  const auto skip = offset % kWord;
  store_le<std::uint64_t>(word.data(), offset - skip);
  const auto count = std::min<std::size_t>(into.size(), kWord - skip);
  std::memcpy(into.data(), &word[skip], count);
  return count;
}

}  // namespace

void PatternBackend::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (offset % kWord != 0 && !into.empty()) {
    const auto head = put_part_of_word(into, offset);
    into = into.subspan(head);
    offset += head;
  }
  while (into.size() >= kWord) {
    store_le<std::uint64_t>(into.data(), offset);
    into = into.subspan(kWord);
    offset += kWord;
  }
  if (!into.empty()) put_part_of_word(into, offset);
}

void PatternBackend::write_at(ConstBytes, std::uint64_t) {
  fail(EPERM, "pattern: is read-only");
}

void PatternBackend::zero_at(std::uint64_t, std::uint64_t, ZeroHow) {
  fail(EPERM, "pattern: is read-only");
}

bool PatternBackend::try_read_at(Bytes into, std::uint64_t offset) {
  read_at(into, offset);
  return true;
}

void ZeroBackend::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  std::fill(into.begin(), into.end(), std::byte{0});
}

void ZeroBackend::write_at(ConstBytes, std::uint64_t) {
  fail(EPERM, "zero: is read-only");
}

void ZeroBackend::zero_at(std::uint64_t, std::uint64_t, ZeroHow) {
  fail(EPERM, "zero: is read-only");
}

std::vector<Extent> ZeroBackend::extents(std::uint64_t offset, std::uint64_t length, std::size_t) {
  check_read_range(size_, offset, length);
  if (length == 0) return {};
  return {{offset, length, true, true}};
}

bool ZeroBackend::try_read_at(Bytes into, std::uint64_t offset) {
  read_at(into, offset);
  return true;
}

}  // namespace r3
