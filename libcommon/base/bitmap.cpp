// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/bitmap.hpp"

#include <algorithm>
#include <bit>

namespace r3 {

namespace {

// The bits [from, to) of a word; to is at most 64.
std::uint64_t mask(std::uint64_t from, std::uint64_t to) {
  const std::uint64_t below_to = to == 64 ? ~0ULL : (1ULL << to) - 1;
  return below_to & ~0ULL << from;
}

}  // namespace

Bitmap::Bitmap(std::uint64_t bits) : own_(words_for(bits)), words_(own_), bits_(bits) {}

// Calls change(word, mask) for each word of the range; it returns the bits that were changed.
template <class Change>
std::uint64_t Bitmap::change(std::uint64_t first, std::uint64_t count, Change change) {
  std::uint64_t changed = 0;
  const auto end = first + count;
  while (first < end) {
    const auto base = first - first % 64;
    const auto to = std::min(end - base, std::uint64_t{64});
    changed += static_cast<std::uint64_t>(
        std::popcount(change(words_[first / 64], mask(first % 64, to))));
    first = base + to;
  }
  return changed;
}

std::uint64_t Bitmap::set(std::uint64_t first, std::uint64_t count) {
  return change(first, count, [](std::uint64_t& word, std::uint64_t bits) {
    const auto changed = bits & ~word;
    word |= bits;
    return changed;
  });
}

std::uint64_t Bitmap::clear(std::uint64_t first, std::uint64_t count) {
  return change(first, count, [](std::uint64_t& word, std::uint64_t bits) {
    const auto changed = bits & word;
    word &= ~bits;
    return changed;
  });
}

std::uint64_t Bitmap::count(std::uint64_t first, std::uint64_t count) const {
  std::uint64_t found = 0;
  const auto end = first + count;
  while (first < end) {
    const auto base = first - first % 64;
    const auto to = std::min(end - base, std::uint64_t{64});
    found += static_cast<std::uint64_t>(std::popcount(words_[first / 64] & mask(first % 64, to)));
    first = base + to;
  }
  return found;
}

template <bool kSet>
std::uint64_t Bitmap::next(std::uint64_t from, std::uint64_t end) const {
  while (from < end) {
    const auto word = kSet ? words_[from / 64] : ~words_[from / 64];
    if (const auto rest = word >> (from % 64); rest != 0)
      return std::min(end, from + static_cast<std::uint64_t>(std::countr_zero(rest)));
    from += 64 - from % 64;
  }
  return end;
}

std::uint64_t Bitmap::next_set(std::uint64_t from, std::uint64_t end) const {
  return next<true>(from, end);
}

std::uint64_t Bitmap::next_clear(std::uint64_t from, std::uint64_t end) const {
  return next<false>(from, end);
}

}  // namespace r3
