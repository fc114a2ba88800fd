// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/chunked.hpp"

#include <algorithm>
#include <cstring>
#include <bit>
#include <mutex>
#include <optional>
#include <stdexcept>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

// Keeps the sums of offsets and chunks below from wrapping.
constexpr std::uint64_t kMostSize = 1ULL << 63;
// Extents asked for on top: they may lie in the first chunk, before the range.
constexpr std::size_t kBefore = 16;

class Buffer {
 public:
  explicit Buffer(std::uint64_t size)
      : memory_(std::make_unique_for_overwrite<std::byte[]>(size)), size_(size) {}
  Bytes bytes() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::uint64_t size_;
};

}  // namespace

Chunked::Chunked(std::unique_ptr<Backend> below, std::uint64_t chunk, ChunkReads reads)
    : below_(std::move(below)), size_(below_->size()), chunk_(chunk), reads_(reads) {
  if (!std::has_single_bit(chunk) || chunk > 64 * MiB)
    throw std::invalid_argument("a chunk size is a power of two up to 64M, not " +
                                std::to_string(chunk));
  if (size_ > kMostSize) throw std::invalid_argument("a chunked region is at most 8 EiB");
}

Chunked::Pieces Chunked::cut(std::uint64_t offset, std::uint64_t length) const {
  const auto end = offset + length;
  const auto first = offset % chunk_ == 0 ? offset : round_down(offset, chunk_) + chunk_;
  const auto last = end == size_ ? end : round_down(end, chunk_);
  if (first >= end || first > last) {  // all in one chunk, which it does not fill
    return {{offset, length}, {end, 0}, {end, 0}};
  }
  return {{offset, first - offset}, {first, last - first}, {last, end - last}};
}

Chunked::Range Chunked::around(std::uint64_t offset, std::uint64_t length) const {
  const auto first = round_down(offset, chunk_);
  const auto end = offset + length;
  const auto last_chunk = round_down(end - 1, chunk_);
  return {first, last_chunk - first + std::min(chunk_, size_ - last_chunk)};
}

bool Chunked::aligned(std::uint64_t offset, std::uint64_t length) const {
  return offset % chunk_ == 0 && ((offset + length) % chunk_ == 0 || offset + length == size_);
}

void Chunked::check_change(std::uint64_t offset, std::uint64_t length) const {
  if (below_->read_only()) fail(EPERM, "write to a read-only region");
  check_write_range(size_, offset, length);
}

void Chunked::read_part(Bytes into, std::uint64_t offset) {
  if (into.empty()) return;
  const Range chunk = around(offset, into.size());
  const Buffer buffer(chunk.length);
  below_->read_at(buffer.bytes(), chunk.offset);
  std::memcpy(into.data(), buffer.bytes().subspan(offset - chunk.offset, into.size()).data(), into.size());
}

void Chunked::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (reads_ == ChunkReads::any) return below_->read_at(into, offset);
  const Pieces pieces = cut(offset, into.size());
  const auto part = [&](const Range& range) {
    return into.subspan(range.offset - offset, range.length);
  };
  read_part(part(pieces.head), pieces.head.offset);
  if (pieces.middle.length > 0) below_->read_at(part(pieces.middle), pieces.middle.offset);
  read_part(part(pieces.tail), pieces.tail.offset);
}

void Chunked::write_part(ConstBytes from, std::uint64_t offset) {
  if (from.empty()) return;
  const Range chunk = around(offset, from.size());
  const Buffer buffer(chunk.length);
  std::lock_guard lock(locks_[chunk.offset / chunk_ % kLocks]);
  below_->read_at(buffer.bytes(), chunk.offset);
  std::memcpy(buffer.bytes().subspan(offset - chunk.offset, from.size()).data(), from.data(), from.size());
  below_->write_at(buffer.bytes(), chunk.offset);
}

// At most as many chunks at a time as there are locks; locks are taken in their order, so that nobody
// waits in a circle.
template <class Action>
void Chunked::with_chunks_shared(const Range& range, Action action) {
  const auto end = range.offset + range.length;
  for (auto at = range.offset; at < end;) {
    const auto next = std::min(at + kLocks * chunk_, end);
    const auto first = at / chunk_;
    const auto count = (next - at + chunk_ - 1) / chunk_;
    std::array<std::optional<std::shared_lock<std::shared_mutex>>, kLocks> held;
    for (std::size_t i = 0; i < kLocks; ++i)
      if ((i + kLocks - first % kLocks) % kLocks < count) held[i].emplace(locks_[i]);
    action(at, next - at);
    at = next;
  }
}

void Chunked::write_at(ConstBytes from, std::uint64_t offset) {
  check_change(offset, from.size());
  const Pieces pieces = cut(offset, from.size());
  const auto part = [&](std::uint64_t at, std::uint64_t length) {
    return from.subspan(at - offset, length);
  };
  write_part(part(pieces.head.offset, pieces.head.length), pieces.head.offset);
  with_chunks_shared(pieces.middle, [&](std::uint64_t at, std::uint64_t length) {
    below_->write_at(part(at, length), at);
  });
  write_part(part(pieces.tail.offset, pieces.tail.length), pieces.tail.offset);
}

void Chunked::zero_part(const Range& part) {
  if (part.length == 0) return;
  const Buffer zeroes(part.length);
  std::ranges::fill(zeroes.bytes(), std::byte{0});
  write_part(zeroes.bytes(), part.offset);
}

void Chunked::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_change(offset, length);
  const Pieces pieces = cut(offset, length);
  if (how.only_if_fast && pieces.middle.length == 0 && length > 0)
    fail(EOPNOTSUPP, "zeroing a part of a chunk without writing it");
  // What may refuse comes first.
  with_chunks_shared(pieces.middle, [&](std::uint64_t at, std::uint64_t part) {
    below_->zero_at(at, part, how);
  });
  zero_part(pieces.head);
  zero_part(pieces.tail);
}

void Chunked::discard_at(std::uint64_t offset, std::uint64_t length) {
  if (below_->read_only()) fail(EPERM, "discard in a read-only region");
  check_read_range(size_, offset, length);
  with_chunks_shared(cut(offset, length).middle, [&](std::uint64_t at, std::uint64_t part) {
    below_->discard_at(at, part);
  });
}

void Chunked::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size_, offset, length);
  if (length == 0) return;
  const Range chunks = around(offset, length);
  below_->prefetch(chunks.offset, chunks.length);
}

std::vector<Extent> Chunked::extents(std::uint64_t offset, std::uint64_t length,
                                     std::size_t most) {
  check_read_range(size_, offset, length);
  if (length == 0) return {};
  const Range chunks = around(offset, length);
  std::vector<Extent> found;
  const auto end = offset + length;
  for (const Extent& extent : below_->extents(chunks.offset, chunks.length, most + kBefore)) {
    const auto last = std::min(extent.offset + extent.length, end);
    if (last <= offset) continue;
    append_extent(found, {offset, last - offset, extent.hole, extent.zero});
    offset = last;
  }
  append_extent(found, {offset, end - offset, false, false});  // what there was no room to tell
  if (found.size() > most) found.resize(most);
  return found;
}

bool Chunked::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  return aligned(offset, into.size()) && below_->try_read_at(into, offset);
}

bool Chunked::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_change(offset, from.size());
  if (!aligned(offset, from.size()) || from.size() > chunk_) return false;
  std::shared_lock lock(locks_[offset / chunk_ % kLocks], std::try_to_lock);
  return lock.owns_lock() && below_->try_write_at(from, offset);
}

ConstBytes Chunked::borrow(std::uint64_t offset, std::uint64_t length) {
  return below_->borrow(offset, length);
}

}  // namespace r3
