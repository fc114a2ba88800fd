// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/tape_region.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

struct Part {
  std::uint64_t block;
  std::uint64_t position;
  Bytes into;
};

}  // namespace

TapeRegion::TapeRegion(std::unique_ptr<Reel> reel)
    : reel_(std::move(reel)), label_(reel_->label()), read_only_(reel_->tape().read_only()),
      zero_hash_(tape_hash(std::vector<std::byte>(label_.chunk))), end_(reel_->known().end),
      generation_(reel_->known().generation), records_(reel_->known().records) {}

template <class Action>
void TapeRegion::with_tape(Turns::Kind kind, std::uint64_t position, Action action) {
  Turns::Turn turn(turns_, kind, position);
  const auto moved = reel_->moves(), appended = reel_->appended();
  const auto done = [&] {
    moves_ = reel_->moves();
    end_ = reel_->known().end;
    generation_ = reel_->known().generation;
    records_ = reel_->known().records;
    if (kind == Turns::Kind::write && reel_->appended() == appended) turn.wrote_nothing();
    turn.ends_at(reel_->at(), reel_->moves() == moved ? std::chrono::nanoseconds(0) : reel_->last_move());
  };
  try {
    action();
  } catch (...) {
    done();
    throw;
  }
  done();
}

void TapeRegion::check_whole(std::uint64_t offset, std::uint64_t length) const {
  const auto end = offset + length;
  if (offset % label_.chunk != 0 || (end % label_.chunk != 0 && end != label_.size))
    fail(EINVAL, name() + ": no whole blocks of " + std::to_string(label_.chunk) + " bytes");
}

void TapeRegion::read(Bytes into, std::uint64_t offset, Turns::Kind kind) {
  check_read_range(label_.size, offset, into.size());
  check_whole(offset, into.size());
  std::vector<Part> parts;
  for (auto block = offset / label_.chunk; !into.empty(); ++block) {
    const auto part = into.first(std::min<std::size_t>(into.size(), label_.chunk));
    into = into.subspan(part.size());
    if (const auto entry = reel_->find(block)) parts.push_back({block, entry->position, part});
    else std::ranges::fill(part, std::byte{0});
  }
  if (parts.empty()) return;
  std::ranges::sort(parts, {}, &Part::position);
  with_tape(kind, parts[0].position, [&] {
    for (const Part& part : parts) {
      const auto entry = reel_->find(part.block);  // it may have been written again meanwhile
      if (entry) reel_->read(part.block, *entry, part.into);
      else std::ranges::fill(part.into, std::byte{0});
      read_ += part.into.size();
    }
  });
}

void TapeRegion::write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(label_.size, offset, from.size());
  if (read_only_) fail(EPERM, name());
  check_whole(offset, from.size());
  if (from.empty()) return;
  with_tape(Turns::Kind::write, 0, [&] {
    for (auto block = offset / label_.chunk; !from.empty(); ++block) {
      const auto part = from.first(std::min<std::size_t>(from.size(), label_.chunk));
      reel_->write(block, part);
      written_ += part.size();
      from = from.subspan(part.size());
    }
  });
}

void TapeRegion::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow) {
  check_write_range(label_.size, offset, length);
  if (read_only_) fail(EPERM, name());
  check_whole(offset, length);
  if (length == 0) return;
  with_tape(Turns::Kind::write, 0, [&] {
    reel_->zero(offset / label_.chunk, (length + label_.chunk - 1) / label_.chunk);
  });
}

void TapeRegion::flush() {
  if (read_only_) return;
  with_tape(Turns::Kind::write, 0, [&] { reel_->commit(); });
}

std::vector<Extent> TapeRegion::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  check_read_range(label_.size, offset, length);
  std::vector<Extent> all;
  for (const auto end = offset + length; offset < end;) {
    const auto block = offset / label_.chunk;
    bool data = true;
    try {
      data = reel_->find(block).has_value();
    } catch (const std::system_error&) {  // lost: who reads it is told
    }
    const auto stop = std::min(end, (block + 1) * label_.chunk);
    append_extent(all, {offset, stop - offset, !data, !data});
    if (all.size() > most) {
      all.pop_back();
      break;
    }
    offset = stop;
  }
  return all;
}

void TapeRegion::abandon() noexcept {
  turns_.abandon();
  reel_->tape().abandon();
}

std::optional<TapeHash> TapeRegion::hash_of(std::uint64_t offset, std::uint64_t length) {
  const auto block = offset / label_.chunk;
  if (offset % label_.chunk != 0 || length != reel_->length_of(block)) return {};
  const auto entry = reel_->find(block);
  if (entry) return entry->damaged != 0 ? std::nullopt : std::optional(entry->hash);
  return length == label_.chunk ? zero_hash_ : tape_hash(std::vector<std::byte>(length));
}

TapeNumbers TapeRegion::numbers() const {
  const auto blocks = reel_->index().count();
  return {moves_, read_, written_, blocks, records_ - std::min<std::uint64_t>(records_, blocks), end_, generation_};
}

std::string TapeRegion::name_of_region() const { return "tape " + hexadecimal(label_.region); }

std::vector<PullRange> TapeRegion::in_tape_order() const {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;
  reel_->index().each([&](std::uint64_t block, const TapeEntry& entry) {
    if (entry.damaged == 0) places.emplace_back(entry.position, block);
  });
  std::ranges::sort(places);
  std::vector<PullRange> ranges;
  for (const auto& [position, block] : places) {
    const auto offset = block * label_.chunk, length = reel_->length_of(block);
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset) ranges.back().length += length;
    else ranges.push_back({offset, length});
  }
  return ranges;
}

}  // namespace r3
