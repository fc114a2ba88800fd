// SPDX-License-Identifier: Apache-2.0
// How a tape is taken up: whose it is, and what it has that the index does not know.
#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "tools/regions/reel/reel.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMostBad = 4096;  // places in a row: then the tape, or the drive, is at its end

}  // namespace

struct Reel::Scan {
  bool force = false;
  ReelFound found;
  TapeKnown known;
  TapeChanges changes;         // of the batch
  std::uint64_t records = 0;   // of the batch, with those that could not be read
  std::uint64_t bad = 0;       // places since the last record that could be read
  std::uint64_t bad_at = 0;    // the first of them
};

ReelFound Reel::settle(bool force) {
  bool blank = false;
  lost_way_ = true;
  at_.reset();
  if (label_.block != tape_->block()) tape_->set_block(label_.block);
  const auto label = read_label(*tape_, blank);
  if (!label || label->tape != label_.tape)
    fail(ESTALE, tape_->name() + ": the wrong tape: " + index_->path() + " is the index of another one");
  const auto end = tape_->seek_end();
  if (end < known().end)
    fail(ESTALE, tape_->name() + " ends at position " + std::to_string(end) + ", and " + index_->path() +
                     " knows of records up to " + std::to_string(known().end) +
                     ": it is an older copy, or was cut (tapisk --rebuild takes what it has)");
  if (records_ > 0 && end < tail_) drop_batch(EIO);  // what the drive had not yet put on the medium
  Scan now;
  now.force = force;
  now.known = known();
  if (records_ == 0) {
    if (end > known().end) scan(now);
    tail_ = known().end;
    sequence_ = known().sequence;
    before_ = known().before;
  }
  if (known().generation < label_.copied && !copying_)
    fail(ESTALE, tape_->name() + ": the copy to this tape was not finished (tapisk --compact makes it again)");
  sure_ = true;
  lost_way_ = false;
  return now.found;
}

// The bytes of one record in buffer_.
Tape::Got Reel::read_record() {
  if (label_.block == 0) return tape_->read(buffer_);
  // Fixed blocks follow each other without a border: the first one says how many belong to it.
  auto got = tape_->read(Bytes(buffer_).first(label_.block));
  if (got.met != Tape::Met::record) return got;
  const auto length = data_length(ConstBytes(buffer_).first(got.length));
  const auto whole = length ? round_up(kRecordHeader + *length, label_.block) : got.length;
  if (whole > buffer_.size() || whole <= got.length) return got;
  const auto rest = tape_->read(Bytes(buffer_).subspan(got.length, whole - got.length));
  if (rest.met == Tape::Met::record) got.length += rest.length;
  return got;
}

void Reel::scan(Scan& scan) {
  auto position = known().end;
  tape_->seek(position);
  while (scan.bad <= kMostBad) {
    Tape::Got got{Tape::Met::record, 0};
    try {
      got = read_record();
    } catch (const std::system_error& error) {
      if (error.code().value() != EIO && error.code().value() != ENOMEM) throw;
      log_warning(error.what());
    }
    if (got.met == Tape::Met::end) break;
    if (got.met == Tape::Met::filemark) {
      ++position;
      continue;
    }
    if (got.length > 0 && take(scan, position, got.length)) {
      position += units(got.length);
      continue;
    }
    if (scan.bad++ == 0) scan.bad_at = position;
    try {
      tape_->seek(++position);
    } catch (const std::system_error&) {
      break;  // nothing behind it can be reached
    }
  }
  scan.found.cut_off = scan.records > 0 || scan.bad > 0;
}

// False if it is no record of this tape, or a damaged one.
bool Reel::take(Scan& scan, std::uint64_t position, std::size_t length) {
  const auto record = decode_record(ConstBytes(buffer_).first(length));
  if (!record || record->header.tape != label_.tape || !fill_gap(scan, record->header, position)) return false;
  const RecordHeader& header = record->header;
  scan.known.sequence = header.sequence;
  scan.known.before = header.before;
  push_before(scan.known.before, {header.block, header.count});
  if (header.kind == RecordKind::commit) {
    take_commit(scan, header, position + units(length));
    return true;
  }
  ++scan.records;
  if (header.kind == RecordKind::data) ++scan.known.records;
  for (auto one = header.block; one < end_of({header.block, header.count}); ++one) {
    if (header.kind == RecordKind::zero) scan.changes[one] = std::nullopt;
    else scan.changes[one] = TapeEntry{position, header.generation, header.length, header.kind == RecordKind::damaged,
                                       record->hash};
  }
  return true;
}

// The block behind those, as far as the region has them.
std::uint64_t Reel::end_of(const RecordHeader::Before& blocks) const {
  const auto all = (label_.size + label_.chunk - 1) / label_.chunk;
  return blocks.block >= all ? 0 : blocks.block + std::min(blocks.count, all - blocks.block);
}

// Records that are missing before this one: it names the last of them, whose blocks are then known to be lost. False if
// it does not follow what was read.
bool Reel::fill_gap(Scan& scan, const RecordHeader& header, std::uint64_t position) {
  if (header.sequence <= scan.known.sequence) return false;
  const auto missing = header.sequence - scan.known.sequence - 1;
  const auto named = std::min<std::uint64_t>(missing, RecordHeader::kBefore);
  const auto where = scan.bad > 0 ? scan.bad_at : position;
  if (missing > named && !scan.force)
    fail(EIO, at_position(*tape_, where) + ": " + std::to_string(missing) + " records cannot be read, and nothing says "
              "which blocks were in " + std::to_string(missing - named) + " of them (--force takes what is older for these)");
  scan.found.unknown += missing - named;
  scan.records += missing - named;
  if (missing > named) scan.known.before.fill({~0ULL, 1});  // of no block: nobody knows
  for (auto back = named; back-- > 0;) {
    const auto& blocks = header.before[back];
    ++scan.found.unreadable;
    push_before(scan.known.before, blocks.count == 0 ? RecordHeader::Before{~0ULL, 0} : blocks);
    if (blocks.count == 0) {  // a commit
      scan.known.sequence = header.sequence - 1 - back;
      take_up(scan, position);
      continue;
    }
    ++scan.records;
    for (auto one = blocks.block; one < end_of(blocks); ++one)
      scan.changes[one] = TapeEntry{where, header.generation, 0, 1, {}};
  }
  scan.bad = 0;
  if (header.generation > scan.known.generation + 1 && scan.force) scan.known.generation = header.generation - 1;
  return header.generation == scan.known.generation + 1;
}

// The filemark behind it says that the batch is on the medium; a writer that was killed may not have got that far.
void Reel::take_commit(Scan& scan, const RecordHeader& header, std::uint64_t after) {
  scan.known.before[0] = {~0ULL, 0};
  if (header.count != scan.records && !scan.force)
    fail(EIO, at_position(*tape_, after - 1) + ": a batch of " + std::to_string(header.count) + " records has " +
                  std::to_string(scan.records));
  const auto next = what_is_next();
  tape_->seek(after);
  if (next == Tape::Met::record) {
    if (!scan.force)
      fail(EIO, at_position(*tape_, after) + ": no filemark is behind a batch (--force takes the batch)");
    return take_up(scan, after);
  }
  if (next == Tape::Met::end) {
    if (tape_->read_only()) return;
    tape_->write_filemark();
    tape_->seek(after);
  }
  take_up(scan, after + 1);
}

// Something that cannot be read is a record, too.
Tape::Met Reel::what_is_next() try {
  std::vector<std::byte> one(buffer_.size());
  return tape_->read(one).met;
} catch (const std::system_error& error) {
  if (error.code().value() != EIO && error.code().value() != ENOMEM) throw;
  return Tape::Met::record;
}

// The batch is valid. `end`: the position behind it.
void Reel::take_up(Scan& scan, std::uint64_t end) {
  ++scan.known.generation;
  scan.known.end = end;
  ++scan.found.batches;
  scan.found.records += scan.records;
  index_->apply(scan.changes, scan.known);
  scan.changes.clear();
  scan.records = 0;
}

}  // namespace r3
