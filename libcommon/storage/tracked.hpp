// SPDX-License-Identifier: Apache-2.0
// Which blocks of the backend below were written since somebody asked: for each of those who track a map of
// its own, one bit a block of 4 KiB. Writing takes no lock: a fence, and for each map the bits that are not
// set yet. A bit is set after the write, before it returns: who takes the map, then reads, sees the write or
// finds its bit in the next map. Knows nothing of why somebody tracks.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/storage/decorator.hpp"

namespace r3 {

// 64 blocks of 4 KiB, of which some were written.
struct WrittenGroup {
  std::uint32_t group = 0;  // in units of kGroupBytes
  std::uint64_t blocks = 0;  // bit n: block n of the group
  friend bool operator==(const WrittenGroup&, const WrittenGroup&) = default;
};
inline constexpr std::uint64_t kTrackedBlock = 4 * KiB;
inline constexpr std::uint64_t kTrackedGroup = 64 * kTrackedBlock;

using WrittenBlocks = std::vector<WrittenGroup>;  // by group, none empty

std::uint64_t count_blocks(const WrittenBlocks& blocks);
// `into` has the blocks of both.
void merge_blocks(WrittenBlocks& into, const WrittenBlocks& other);

class Tracked : public Decorator {
 public:
  static constexpr unsigned kMostMaps = 16;

  // Borrows `below`. Throws EFBIG for a size whose groups have no number.
  explicit Tracked(Backend& below);

  // Begins a map, empty; the number names it. Throws EBUSY when there are too many. Every write that
  // returns after this is in it.
  unsigned track();
  void untrack(unsigned map);
  // What was written since track() or the last take().
  WrittenBlocks take(unsigned map);
  // How many blocks take() would give now; takes nothing.
  std::uint64_t written(unsigned map) const;
  // Bytes of all changes, each time anew, since somebody tracked first.
  std::uint64_t changed() const { return changed_; }

  void write_at(ConstBytes from, std::uint64_t offset) override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;

 private:
  using Word = std::atomic<std::uint64_t>;
  class Mark;
  void mark(std::uint64_t offset, std::uint64_t length) noexcept;
  static void mark_in(Word* words, std::uint64_t first, std::uint64_t last) noexcept;

  const std::uint64_t words_;
  std::mutex mutex_;
  unsigned used_ = 0;  // guarded by mutex_: bit n: map n
  // Kept once made: who marks may still have it in hand.
  std::array<std::unique_ptr<Word[]>, kMostMaps> memory_;  // guarded by mutex_
  std::array<std::atomic<Word*>, kMostMaps> maps_{};       // null: nobody tracks with it
  std::atomic<std::uint64_t> changed_{0};
  std::atomic<unsigned> count_{0};                         // maps up to here may be in use
};

}  // namespace r3
