// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/reel.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"

namespace r3 {

namespace {

constexpr std::size_t kMostLabel = 1 * MiB;

}  // namespace

std::optional<TapeLabel> read_label(Tape& tape, bool& blank) {
  blank = false;
  tape.seek(0);
  if (tape.block() == 0) {
    std::vector<std::byte> bytes(kMostLabel);
    Tape::Got got;
    try {
      got = tape.read(bytes);
    } catch (const std::system_error& error) {
      if (error.code().value() == ENOMEM) return {};
      throw;
    }
    blank = got.met == Tape::Met::end;
    if (got.met != Tape::Met::record) return {};
    // Fixed blocks are records of their own here.
    for (auto more = got; more.met == Tape::Met::record && more.length < kLabelBytes && got.length < kLabelBytes;
         got.length += more.length)
      more = tape.read(Bytes(bytes).subspan(got.length));
    const auto label = decode_label(ConstBytes(bytes).first(got.length));
    if (label && label->block != 0) tape.set_block(label->block);
    return label;
  }
  // A drive that has fixed blocks gives a part of what it has.
  std::vector<std::byte> bytes(round_up(kLabelBytes, tape.block()));
  const auto got = tape.read(bytes);
  blank = got.met == Tape::Met::end;
  if (got.met != Tape::Met::record) return {};
  auto label = decode_label(ConstBytes(bytes).first(got.length));
  if (label && label->block != tape.block()) tape.set_block(label->block);
  return label;
}

TapeKnown begin_tape(Tape& tape, const TapeLabel& label) {
  tape.set_block(label.block);
  tape.seek(0);
  const auto bytes = encode_label(label);
  tape.write(bytes);
  tape.write_filemark();
  TapeKnown known;
  known.label = label;
  known.end = (label.block == 0 ? 1 : bytes.size() / label.block) + 1;
  known.generation = label.copied == 0 ? 0 : label.copied - 1;
  return known;
}

Reel::Reel(std::unique_ptr<Tape> tape, std::unique_ptr<TapeIndex> index)
    : tape_(std::move(tape)), index_(std::move(index)), label_(index_->known().label),
      buffer_(round_up(kRecordHeader + label_.chunk, std::max<std::uint32_t>(label_.block, 1))),
      tail_(known().end), sequence_(known().sequence), before_(known().before) {}

std::uint64_t Reel::length_of(std::uint64_t block) const {
  return std::min(label_.chunk, label_.size - block * label_.chunk);
}

std::uint64_t Reel::units(std::size_t bytes) const {
  return label_.block == 0 ? 1 : (bytes + label_.block - 1) / label_.block;
}

void Reel::move_to(std::uint64_t position) {
  if (at_ == position) return;
  at_.reset();
  const auto begun = std::chrono::steady_clock::now();
  lost_way_ = true;
  tape_->seek(position);
  lost_way_ = false;
  last_move_ = std::chrono::steady_clock::now() - begun;
  ++moves_;
  at_ = position;
}

void Reel::make_sure() {
  if (!sure_ || lost_way_) settle();
}

std::optional<TapeEntry> Reel::find(std::uint64_t block) const {
  const std::lock_guard lock(mutex_);
  if (const auto lost = lost_.find(block); lost != lost_.end())
    fail(lost->second, tape_->name() + ": block " + std::to_string(block) + " was written, but is not on the tape");
  if (const auto changed = batch_.find(block); changed != batch_.end()) return changed->second;
  return index_->find(block);
}

// Each record says whose it is, so that a failure needs no look at the label before the next read.
void Reel::read(std::uint64_t block, const TapeEntry& entry, Bytes into) {
  if (entry.damaged != 0)
    fail(EIO, at_position(*tape_, entry.position) + ": block " + std::to_string(block) + " is lost: the tape is damaged there");
  if (lost_way_) settle();
  move_to(entry.position);
  const auto whole = round_up(kRecordHeader + entry.length, std::max<std::uint32_t>(label_.block, 1));
  if (whole > buffer_.size()) fail(EINVAL, index_->path() + " is damaged (tapisk --rebuild makes it anew)");
  at_.reset();
  const bool sure = std::exchange(sure_, false);
  const auto got = tape_->read(Bytes(buffer_).first(whole));
  const auto found = got.met == Tape::Met::record ? decode_record(ConstBytes(buffer_).first(got.length)) : std::nullopt;
  if (got.met == Tape::Met::record) at_ = entry.position + units(got.length);
  if (!found || found->header.tape != label_.tape || found->header.block != block ||
      found->header.generation != entry.generation || found->hash != entry.hash || found->data.size() != into.size())
    refuse_record(block, entry, found);
  sure_ = sure;
  std::memcpy(into.data(), found->data.data(), into.size());
}

void Reel::refuse_record(std::uint64_t block, const TapeEntry& entry, const std::optional<Record>& found) {
  if (found && found->header.tape != label_.tape) fail(ESTALE, tape_->name() + ": another tape is in the drive");
  fail(EIO, at_position(*tape_, entry.position) + ": the record of block " + std::to_string(block) +
                (found ? " is not the one that " + index_->path() + " tells of (tapisk --rebuild)" : " is damaged"));
}

void Reel::write(std::uint64_t block, ConstBytes data) {
  if (all_zero(data)) return zero(block, 1);
  add(RecordKind::data, block, 1, data);
}

void Reel::zero(std::uint64_t first, std::uint64_t count) {
  const auto on_tape = [this](std::uint64_t block) {
    const std::lock_guard lock(mutex_);
    if (lost_.contains(block)) return true;
    const auto changed = batch_.find(block);
    return changed != batch_.end() ? changed->second.has_value() : index_->find(block).has_value();
  };
  for (auto block = first, end = first + count; block < end;) {
    if (count > 1) {  // over what was never written, however much it is
      auto next = index_->next(block).value_or(end);
      const std::lock_guard lock(mutex_);
      if (const auto changed = batch_.lower_bound(block); changed != batch_.end()) next = std::min(next, changed->first);
      if (const auto lost = lost_.lower_bound(block); lost != lost_.end()) next = std::min(next, lost->first);
      block = std::min(std::max(block, next), end);
    }
    auto stop = block;
    while (stop < end && on_tape(stop)) ++stop;
    if (stop > block) add(RecordKind::zero, block, stop - block, {});
    block = std::max(stop, block + 1);
  }
}

void Reel::damage(std::uint64_t block) { add(RecordKind::damaged, block, 1, {}); }

void Reel::add(RecordKind kind, std::uint64_t block, std::uint64_t count, ConstBytes data) {
  const RecordHeader header{label_.tape, 0, 0, block, count, kind, static_cast<std::uint32_t>(data.size()), {}};
  const auto hash = tape_hash(data);
  std::uint64_t position = 0;
  try {
    make_sure();
    position = tail_;
    append(header, data, hash);
  } catch (...) {
    const int error = errno_of_current_exception();
    drop_batch(error);
    const std::lock_guard lock(mutex_);
    for (auto i = block; i < block + count; ++i) lost_[i] = error;
    throw;
  }
  ++records_;
  if (kind == RecordKind::data) ++data_records_;
  push_before(before_, {block, count});
  const std::lock_guard lock(mutex_);
  for (auto i = block; i < block + count; ++i) {
    lost_.erase(i);
    if (kind == RecordKind::zero) batch_[i] = std::nullopt;
    else batch_[i] = TapeEntry{position, known().generation + 1, header.length, kind == RecordKind::damaged, hash};
  }
}

void Reel::append(RecordHeader header, ConstBytes data, const TapeHash& hash) {
  if (full_ != 0) fail(full_, tape_->name() + ": the end of the tape was met (tapisk --compact copies it to another)");
  if (tail_ > tape_->furthest())
    fail(ENOSPC, at_position(*tape_, tail_) + ": the drive could not find it again (tapisk --compact copies the tape to another)");
  move_to(tail_);
  header.generation = known().generation + 1;
  header.sequence = sequence_ + 1;
  header.before = before_;
  const auto whole = round_up(kRecordHeader + data.size(), std::max<std::uint32_t>(label_.block, 1));
  const auto bytes = Bytes(buffer_).first(whole);
  encode_header(header, hash, bytes);
  if (!data.empty()) std::memcpy(bytes.data() + kRecordHeader, data.data(), data.size());
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(kRecordHeader + data.size()), bytes.end(), std::byte{0});
  at_.reset();
  tape_->write(bytes);
  ++appended_;
  ++sequence_;
  tail_ += units(whole);
  at_ = tail_;
}

// What was written after the last commit is not believed to be on the tape any more: a drive may say of a later
// record what it could not do with an earlier one.
void Reel::drop_batch(int error) noexcept {
  if (error == ENOSPC) full_ = error;
  sure_ = false;
  at_.reset();
  tail_ = known().end;
  records_ = data_records_ = 0;
  sequence_ = known().sequence;
  before_ = known().before;
  const std::lock_guard lock(mutex_);
  for (const auto& [block, entry] : batch_) lost_[block] = error;
  batch_.clear();
}

void Reel::check_nothing_lost() const {
  const std::lock_guard lock(mutex_);
  if (lost_.empty()) return;
  fail(lost_.begin()->second, tape_->name() + ": " + std::to_string(lost_.size()) +
                                  " blocks that were written are not on the tape");
}

void Reel::commit() {
  check_nothing_lost();
  if (records_ > 0) write_commit();
}

void Reel::finish_copy() {
  check_nothing_lost();
  write_commit();
  copying_ = false;
}

void Reel::write_commit() {
  TapeKnown next = known();
  try {
    make_sure();
    check_nothing_lost();
    ++next.generation;
    append({label_.tape, 0, 0, 0, records_, RecordKind::commit, 0, {}}, {}, tape_hash({}));
    at_.reset();
    tape_->write_filemark();
    at_ = ++tail_;
    push_before(before_, {~0ULL, 0});
    next.end = tail_;
    next.sequence = sequence_;
    next.records += data_records_;
    next.before = before_;
    index_->apply(batch_, next);
  } catch (...) {
    drop_batch(errno_of_current_exception());
    throw;
  }
  records_ = data_records_ = 0;
  const std::lock_guard lock(mutex_);
  batch_.clear();
}

}  // namespace r3
