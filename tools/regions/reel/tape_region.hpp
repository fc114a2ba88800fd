// SPDX-License-Identifier: Apache-2.0
// A region on a tape as a Backend of whole chunks: one reader or writer at a time, reads in the order of the tape,
// writes at its end. A write that returned can be read; it is on the tape for good, and in the index, after the next
// flush. What the tape refuses is lost until it is written again: flush() and reads of it fail for as long.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/hashed.hpp"
#include "libcommon/storage/pull_source.hpp"
#include "tools/regions/reel/reel.hpp"
#include "tools/regions/reel/turns.hpp"

namespace r3 {

struct TapeNumbers {
  std::uint64_t moves = 0;            // of the tape, other than by reading and writing on
  std::uint64_t read = 0, written = 0;  // bytes of blocks
  std::uint64_t blocks = 0;           // on the tape, that count
  std::uint64_t dead = 0;             // records that do not count any more
  std::uint64_t end = 0, generation = 0;
};

class TapeRegion final : public Backend, public Hashed {
 public:
  // Has been settled.
  explicit TapeRegion(std::unique_ptr<Reel> reel);

  std::uint64_t size() const override { return label_.size; }
  std::uint64_t block_size() const override { return label_.chunk; }
  bool read_only() const override { return read_only_; }
  void read_at(Bytes into, std::uint64_t offset) override { read(into, offset, Turns::Kind::read); }
  void read_background(Bytes into, std::uint64_t offset) override { read(into, offset, Turns::Kind::background); }
  // Whole chunks, as zero_at: EINVAL else.
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void flush() override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override;
  void abandon() noexcept override;
  std::optional<TapeHash> hash_of(std::uint64_t offset, std::uint64_t length) override;

  const TapeLabel& label() const { return label_; }
  const std::string& name() const { return reel_->tape().name(); }
  // The same for every copy of it, on whatever tape.
  std::string name_of_region() const;
  TapeNumbers numbers() const;
  // All that is on the tape, in its order.
  std::vector<PullRange> in_tape_order() const;

 private:
  void read(Bytes into, std::uint64_t offset, Turns::Kind kind);
  void check_whole(std::uint64_t offset, std::uint64_t length) const;
  // Calls action with the tape in hand.
  template <class Action>
  void with_tape(Turns::Kind kind, std::uint64_t position, Action action);

  const std::unique_ptr<Reel> reel_;  // guarded by a turn, but for what any thread may call
  const TapeLabel label_;
  const bool read_only_;
  const TapeHash zero_hash_;
  Turns turns_;
  std::atomic<std::uint64_t> moves_{0}, read_{0}, written_{0}, end_, generation_, records_;
};

}  // namespace r3
