// SPDX-License-Identifier: Apache-2.0
// A region on a tape and its index: blocks are added at the end of the tape in batches; what is older stays where it
// is and no longer counts. The order of a batch is tape, filemark, index: at any moment the index holds no more than the
// tape, and what a tape has beyond it is found when it is taken up. Knows no threads and no drives.
//
// For one thread at a time, but for find(). Throws std::system_error; ESTALE for a tape that is another one.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "tools/regions/reel/tape.hpp"
#include "tools/regions/reel/tape_index.hpp"

namespace r3 {

struct ReelFound {
  std::uint64_t batches = 0, records = 0, unreadable = 0;
  std::uint64_t unknown = 0;  // records that could not be read, and nothing says of which blocks
  bool cut_off = false;       // the last batch was never finished: it is left out
};

class Reel {
 public:
  Reel(std::unique_ptr<Tape> tape, std::unique_ptr<TapeIndex> index);

  const TapeLabel& label() const { return label_; }
  const TapeKnown& known() const { return index_->known(); }
  const TapeIndex& index() const { return *index_; }
  Tape& tape() { return *tape_; }
  std::uint64_t length_of(std::uint64_t block) const;

  // Looks whether the tape is the index's, and adds to the index what the tape has beyond it. `force`: also if
  // records of unknown blocks are missing. Called by all that follows when something has gone wrong before.
  ReelFound settle(bool force = false);

  // Where the block is; none: it is zeroes. EIO for one that was written after the last commit, and got lost.
  std::optional<TapeEntry> find(std::uint64_t block) const;
  // The whole block. EIO if the tape has something else there.
  void read(std::uint64_t block, const TapeEntry& entry, Bytes into);
  void write(std::uint64_t block, ConstBytes data);
  // Those of the blocks that are on the tape become zeroes.
  void zero(std::uint64_t first, std::uint64_t count);
  void damage(std::uint64_t block);
  // All that was written before is on the tape and in the index. EIO, or what the tape said, if some of it got
  // lost, until that is written again.
  void commit();
  // A copy of another tape: it does not count before finish_copy(), which commits all of it.
  void begin_copy() { copying_ = true; }
  void finish_copy();
  // How long the last move took, which is what the next one is likely to take.
  std::chrono::nanoseconds last_move() const { return last_move_; }
  std::uint64_t moves() const { return moves_; }
  std::uint64_t appended() const { return appended_; }  // records, of all kinds
  std::uint64_t at() const { return at_.value_or(0); }

 private:
  struct Scan;
  void make_sure();
  void move_to(std::uint64_t position);
  std::uint64_t units(std::size_t bytes) const;  // positions that a record takes
  void append(RecordHeader header, ConstBytes data, const TapeHash& hash);
  void add(RecordKind kind, std::uint64_t block, std::uint64_t count, ConstBytes data);
  void drop_batch(int error) noexcept;
  void check_nothing_lost() const;
  void write_commit();
  [[noreturn]] void refuse_record(std::uint64_t block, const TapeEntry& entry, const std::optional<Record>& found);
  Tape::Got read_record();
  void scan(Scan& scan);
  bool take(Scan& scan, std::uint64_t position, std::size_t length);
  bool fill_gap(Scan& scan, const RecordHeader& header, std::uint64_t position);
  void take_commit(Scan& scan, const RecordHeader& header, std::uint64_t after);
  void take_up(Scan& scan, std::uint64_t end);
  Tape::Met what_is_next();
  std::uint64_t end_of(const RecordHeader::Before& blocks) const;

  const std::unique_ptr<Tape> tape_;
  const std::unique_ptr<TapeIndex> index_;
  const TapeLabel label_;
  bool sure_ = false;                // the tape is ours, and its end where we think: may be written
  bool lost_way_ = true;             // moving failed: it may not even be the same tape
  std::optional<std::uint64_t> at_;  // position
  std::vector<std::byte> buffer_;    // of one record
  std::uint64_t moves_ = 0, appended_ = 0;
  std::chrono::nanoseconds last_move_{0};
  bool copying_ = false;

  // The batch that is being written.
  std::uint64_t tail_ = 0;           // position behind it
  std::uint64_t records_ = 0;        // in it
  std::uint64_t sequence_ = 0;
  std::uint64_t data_records_ = 0;
  std::array<RecordHeader::Before, RecordHeader::kBefore> before_{};
  int full_ = 0;                     // ENOSPC once the tape's end was met

  mutable std::mutex mutex_;
  TapeChanges batch_;                   // guarded by mutex_
  std::map<std::uint64_t, int> lost_;   // guarded by mutex_: blocks, and with which errno
};

// "TAPE: position N", for messages.
inline std::string at_position(const Tape& tape, std::uint64_t position) {
  return tape.name() + ": position " + std::to_string(position);
}

// Writes the label of an empty tape, and makes its index.
TapeKnown begin_tape(Tape& tape, const TapeLabel& label);
// What the tape begins with. Sets the tape's block size to that of the label; none: it has none of ours. `blank`: it
// has nothing at all.
std::optional<TapeLabel> read_label(Tape& tape, bool& blank);

}  // namespace r3
