// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/tracked.hpp"

#include <algorithm>
#include <bit>

#include "libcommon/base/error.hpp"

namespace r3 {

std::uint64_t count_blocks(const WrittenBlocks& blocks) {
  std::uint64_t count = 0;
  for (const WrittenGroup& one : blocks) count += static_cast<unsigned>(std::popcount(one.blocks));
  return count;
}

void merge_blocks(WrittenBlocks& into, const WrittenBlocks& other) {
  WrittenBlocks both;
  both.reserve(into.size() + other.size());
  std::ranges::merge(into, other, std::back_inserter(both), {}, &WrittenGroup::group, &WrittenGroup::group);
  into.clear();
  for (const WrittenGroup& one : both) {
    if (into.empty() || into.back().group != one.group) into.push_back(one);
    else into.back().blocks |= one.blocks;
  }
}

// Marks when the change has ended, however it ended: one that failed may have changed something too.
class Tracked::Mark {
 public:
  Mark(Tracked& of, std::uint64_t offset, std::uint64_t length)
      : of_(of), offset_(offset), length_(length) {}
  ~Mark() { of_.mark(offset_, length_); }
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  void nothing_changed() { length_ = 0; }

 private:
  Tracked& of_;
  const std::uint64_t offset_;
  std::uint64_t length_;
};

Tracked::Tracked(Backend& below)
    : Decorator(below), words_((below.size() + kTrackedGroup - 1) / kTrackedGroup) {
  if (words_ > UINT32_MAX) fail(EFBIG, "a region of 1 PiB or more");
}

unsigned Tracked::track() {
  const std::lock_guard lock(mutex_);
  const auto map = static_cast<unsigned>(std::countr_one(used_));
  if (map >= kMostMaps) fail(EBUSY, "tracking");
  if (!memory_[map]) memory_[map] = std::make_unique<Word[]>(words_);
  for (std::uint64_t i = 0; i < words_; ++i) memory_[map][i].store(0, std::memory_order_relaxed);
  used_ |= 1u << map;
  maps_[map] = memory_[map].get();
  count_ = std::max(count_.load(), map + 1);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // see mark()
  return map;
}

void Tracked::untrack(unsigned map) {
  const std::lock_guard lock(mutex_);
  maps_[map] = nullptr;
  used_ &= ~(1u << map);
}

WrittenBlocks Tracked::take(unsigned map) {
  WrittenBlocks taken;
  Word* const words = maps_[map];
  for (std::uint64_t i = 0; i < words_; ++i) {
    if (words[i].load(std::memory_order_relaxed) == 0) continue;
    if (const auto blocks = words[i].exchange(0)) taken.push_back({static_cast<std::uint32_t>(i), blocks});
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);  // see mark()
  return taken;
}

std::uint64_t Tracked::written(unsigned map) const {
  std::uint64_t count = 0;
  const Word* const words = maps_[map];
  for (std::uint64_t i = 0; i < words_; ++i)
    count += static_cast<unsigned>(std::popcount(words[i].load(std::memory_order_relaxed)));
  return count;
}

// With the fence either the maps are seen that somebody has begun, and the bits that somebody has taken, or
// the write is seen by whatever that one reads afterwards.
void Tracked::mark(std::uint64_t offset, std::uint64_t length) noexcept {
  if (length == 0) return;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const unsigned count = count_.load(std::memory_order_relaxed);
  if (count == 0) return;
  changed_.fetch_add(length, std::memory_order_relaxed);
  const auto first = offset / kTrackedBlock;
  const auto last = (offset + length - 1) / kTrackedBlock;
  for (unsigned map = 0; map < count; ++map)
    if (Word* const words = maps_[map].load(std::memory_order_relaxed)) mark_in(words, first, last);
}

void Tracked::mark_in(Word* words, std::uint64_t first, std::uint64_t last) noexcept {
  for (auto word = first / 64; word <= last / 64; ++word) {
    std::uint64_t bits = ~std::uint64_t{0};
    if (word == first / 64) bits &= ~std::uint64_t{0} << first % 64;
    if (word == last / 64) bits &= ~std::uint64_t{0} >> (63 - last % 64);
    if ((words[word].load(std::memory_order_relaxed) & bits) != bits) words[word].fetch_or(bits);
  }
}

void Tracked::write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  const Mark mark(*this, offset, from.size());
  below_.write_at(from, offset);
}

void Tracked::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write_range(size(), offset, length);
  const Mark mark(*this, offset, length);
  below_.zero_at(offset, length, how);
}

void Tracked::discard_at(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  const Mark mark(*this, offset, length);
  below_.discard_at(offset, length);
}

bool Tracked::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size(), offset, from.size());
  Mark mark(*this, offset, from.size());
  const bool done = below_.try_write_at(from, offset);
  if (!done) mark.nothing_changed();
  return done;
}

}  // namespace r3
