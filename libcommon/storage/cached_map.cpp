// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_map.hpp"

#include <algorithm>
#include <bit>
#include <mutex>

namespace r3 {

ChunkMap::ChunkMap(std::uint64_t size, std::uint64_t chunk, CacheStore& store)
    : present(store.present_words(), (size + chunk - 1) / chunk),
      dirty(store.dirty_words(), present.size()),
      fresh(present.size()),
      sealed(present.size()),
      unsent(present.size()),
      size_(size),
      chunk_(chunk),
      chunks_(present.size()) {
  present_count_ = present.count(0, chunks_);
  dirty_count_ = fresh_count_ = dirty.count(0, chunks_);
  for (std::uint64_t index = 0; index < Bitmap::words_for(chunks_); ++index)
    fresh.set_word(index, dirty.word(index));
}

ChunkRun ChunkMap::touched(std::uint64_t offset, std::uint64_t length) const {
  const auto first = offset / chunk_;
  return {first, length == 0 ? 0 : (offset + length - 1) / chunk_ - first + 1};
}

ChunkRun ChunkMap::filled(std::uint64_t offset, std::uint64_t length) const {
  const auto first = (offset + chunk_ - 1) / chunk_;
  const auto end = offset + length == size_ ? chunks_ : (offset + length) / chunk_;
  return {first, end > first ? end - first : 0};
}

std::uint64_t ChunkMap::length_of(const ChunkRun& run) const {
  return std::min(run.end() * chunk_, size_) - run.first * chunk_;
}

std::uint64_t ChunkMap::group_end(std::uint64_t chunk) const {
  return std::min((chunk / kGroup + 1) * kGroup, chunks_);
}

ChunkRun ChunkMap::group(std::uint64_t number) const {
  const auto first = number * kGroup;
  return {first, std::min(kGroup, chunks_ - first)};
}

void ChunkMap::forget_absent(const ChunkRun& run) {
  for (auto at = run.first; (at = present.next_clear(at, run.end())) < run.end(); ++at) {
    dirty_count_ -= dirty.clear(at, 1);
    fresh_count_ -= fresh.clear(at, 1);
  }
}

// Groups begin at whole words.
static_assert(ChunkMap::kGroup % 64 == 0);

void ChunkMap::seal_group(std::uint64_t number) {
  const auto [first, count] = group(number);
  for (auto index = first / 64; index * 64 < first + count; ++index) {
    const auto bits = fresh.word(index);
    if (bits == 0) continue;
    sealed.set_word(index, sealed.word(index) | bits);
    unsent.set_word(index, unsent.word(index) | bits);
    fresh.set_word(index, 0);
    fresh_count_ -= static_cast<std::uint64_t>(std::popcount(bits));
  }
}

void ChunkMap::end_group(std::uint64_t number, bool durable) {
  const auto [first, count] = group(number);
  for (auto index = first / 64; index * 64 < first + count; ++index) {
    const auto bits = sealed.word(index);
    if (bits == 0) continue;
    const auto only_sealed = static_cast<std::uint64_t>(std::popcount(bits & ~fresh.word(index)));
    if (durable) {
      dirty.set_word(index, fresh.word(index));
      dirty_count_ -= only_sealed;
    } else {
      fresh.set_word(index, fresh.word(index) | bits);
      fresh_count_ += only_sealed;
    }
    sealed.set_word(index, 0);
    unsent.set_word(index, 0);
  }
}

ChunkRun ChunkMap::next_absent(std::uint64_t from, std::uint64_t end, std::uint64_t gap) const {
  ChunkRun run{end, 0};
  while (from < end) {
    const auto stop = std::min(group_end(from), end);
    const std::shared_lock lock(lock_of(from));
    while (from < stop) {
      const auto absent = present.next_clear(from, stop);
      if (absent == stop) break;
      if (run.count > 0 && absent - run.end() > gap) return run;
      if (run.count == 0) run.first = absent;
      from = present.next_set(absent, stop);
      run.count = from - run.first;
    }
    from = stop;
    if (run.count > 0 && from - run.end() > gap) return run;
  }
  return run;
}

ChunkRun ChunkMap::next_clean(std::uint64_t from) const {
  if (from >= chunks()) return {from, 0};
  const std::shared_lock lock(lock_of(from));
  const auto stop = group_end(from);
  for (auto at = from; (at = present.next_set(at, stop)) < stop;) {
    if (dirty.test(at)) {
      ++at;
      continue;
    }
    return {at, std::min(present.next_clear(at, stop), dirty.next_set(at, stop)) - at};
  }
  return {stop, 0};
}

bool ChunkMap::all_present(std::uint64_t offset, std::uint64_t length) const {
  const auto run = touched(offset, length);
  for (auto at = run.first; at < run.end(); at = group_end(at)) {
    const auto stop = std::min(group_end(at), run.end());
    const std::shared_lock lock(lock_of(at));
    if (present.next_clear(at, stop) < stop) return false;
  }
  return true;
}

}  // namespace r3
