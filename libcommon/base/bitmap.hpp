// SPDX-License-Identifier: Apache-2.0
// One bit for each of many things, and searches that go by whole words. The words are somebody else's
// memory (a vector, a mapped file) or its own. Not locked: callers that share it make sure that two threads
// never change the same word at once; ranges that begin at multiples of 64 share no word.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace r3 {

class Bitmap {
 public:
  // All clear.
  explicit Bitmap(std::uint64_t bits);
  // Over `words`, which hold at least `bits`, as they are.
  Bitmap(std::span<std::uint64_t> words, std::uint64_t bits) : words_(words), bits_(bits) {}
  Bitmap(Bitmap&&) = default;
  Bitmap& operator=(Bitmap&&) = default;

  static std::uint64_t words_for(std::uint64_t bits) { return (bits + 63) / 64; }

  std::uint64_t size() const { return bits_; }
  bool test(std::uint64_t bit) const { return (words_[bit / 64] >> (bit % 64) & 1) != 0; }
  std::uint64_t word(std::uint64_t index) const { return words_[index]; }
  void set_word(std::uint64_t index, std::uint64_t value) { words_[index] = value; }

  // Return how many of the range were changed.
  std::uint64_t set(std::uint64_t first, std::uint64_t count);
  std::uint64_t clear(std::uint64_t first, std::uint64_t count);
  std::uint64_t count(std::uint64_t first, std::uint64_t count) const;

  // The first of its kind in [from, end); `end` if there is none.
  std::uint64_t next_set(std::uint64_t from, std::uint64_t end) const;
  std::uint64_t next_clear(std::uint64_t from, std::uint64_t end) const;

 private:
  template <class Change>
  std::uint64_t change(std::uint64_t first, std::uint64_t count, Change change);
  template <bool kSet>
  std::uint64_t next(std::uint64_t from, std::uint64_t end) const;

  std::vector<std::uint64_t> own_;
  std::span<std::uint64_t> words_;
  std::uint64_t bits_;
};

}  // namespace r3
