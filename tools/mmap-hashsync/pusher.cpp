// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/pusher.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::sync {

namespace {

constexpr std::size_t kAsksAhead = 8;

Header header_of(Type type, std::uint32_t file = 0, std::uint64_t epoch = 0, std::uint32_t aux = 0) {
  return {type, 0, 0, file, aux, epoch};
}

// The range in parts of at most kMostHashes, appended to `ranges`; joined to the last if it goes on there.
void append_range(std::vector<Two>& ranges, std::uint64_t first, std::uint64_t count) {
  if (!ranges.empty() && ranges.back().first + ranges.back().second == first &&
      ranges.back().second + count <= kMostHashes) {
    ranges.back().second += count;
    return;
  }
  for (; count > 0; ) {
    const auto part = std::min<std::uint64_t>(count, kMostHashes);
    ranges.push_back({first, part});
    first += part;
    count -= part;
  }
}

void append_chunk(std::vector<Run>& runs, std::uint64_t index) {
  if (!runs.empty() && runs.back().first + runs.back().count == index) ++runs.back().count;
  else runs.push_back({index, 1, false});
}

// A group that is all zeroes over there need not be asked about.
void forget_chunks(HashTable& table, std::uint64_t first, std::uint64_t count, std::vector<Run>& differing) {
  for (std::uint64_t i = first; i < first + count; ++i) {
    if (table.at(i) == Hash{}) continue;
    table.set(i, {});
    append_chunk(differing, i);
  }
}

}  // namespace

void Pusher::announce(std::uint32_t id, const Announcement& file) {
  link_.send(header_of(Type::file, id), encode(file));
}

// The roots of files that were announced ahead may come first.
Frame Pusher::answer(std::uint32_t id, unsigned level) {
  for (;;) {
    Frame frame = link_.receive(Type::hashes);
    if (frame.header.file == id && frame.header.aux == level) return frame;
    const bool early = frame.header.aux == 2 && frame.header.file > id && frame.header.file <= id + kAhead;
    if (!early || roots_.contains(frame.header.file)) throw ProtocolError("an answer to another question");
    roots_[frame.header.file] = decode_hashes(frame.payload, 0, 1)[0];
  }
}

// A few questions are always on their way: what costs time is the way, not the answer.
void Pusher::ask(std::uint32_t id, unsigned level, const std::vector<Two>& ranges, const Visit& visit) {
  std::size_t sent = 0;
  for (std::size_t answered = 0; answered < ranges.size(); ++answered) {
    for (; sent < ranges.size() && sent < answered + kAsksAhead; ++sent)
      link_.send(header_of(Type::ask, id, 0, level), encode(ranges[sent]));
    const Frame frame = answer(id, level);
    visit(ranges[answered].first,
          decode_hashes(frame.payload, ranges[answered].first, ranges[answered].second));
  }
}

std::vector<Run> Pusher::compare(std::uint32_t id, HashTable& table) {
  if (!roots_.contains(id)) roots_[id] = decode_hashes(answer(id, 2).payload, 0, 1)[0];
  if (roots_.extract(id).mapped() == table.root(hasher_)) return {};
  return descend(id, table);
}

std::vector<Run> Pusher::verify(std::uint32_t id, HashTable& table) {
  const Hash ours = table.root(hasher_);
  bool equal = false;
  ask(id, 2, {{0, 1}}, [&](std::uint64_t, const std::vector<Hash>& theirs) { equal = theirs[0] == ours; });
  return equal ? std::vector<Run>{} : descend(id, table);
}

std::vector<Run> Pusher::descend(std::uint32_t id, HashTable& table) {
  const Geometry& geometry = table.geometry();
  std::vector<Two> groups, chunks;
  std::vector<Run> differing;
  append_range(groups, 0, geometry.groups());
  ask(id, 1, groups, [&](std::uint64_t first, const std::vector<Hash>& theirs) {
    for (std::uint64_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i] == table.of_group(first + i, hasher_)) continue;
      const std::uint64_t from = (first + i) * kGroup, count = geometry.chunks_in(first + i);
      if (theirs[i] == Hash{}) forget_chunks(table, from, count, differing);
      else append_range(chunks, from, count);
    }
  });
  ask(id, 0, chunks, [&](std::uint64_t first, const std::vector<Hash>& theirs) {
    for (std::uint64_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i] == table.at(first + i)) continue;
      table.set(first + i, theirs[i]);
      append_chunk(differing, first + i);
    }
  });
  std::ranges::sort(differing, {}, &Run::first);
  return differing;
}

void Pusher::resize(std::uint32_t id, std::uint64_t size, std::uint64_t generation) {
  link_.send(header_of(Type::resize, id, epoch_), encode(Two{size, generation}));
}

void Pusher::send(Batch& batch) {
  chunks_in_epoch_ += batch.entries.size();
  link_.send(batch, epoch_);
}

void Pusher::forward(const Frame& frame, std::uint32_t id) {
  chunks_in_epoch_ += frame.header.aux;
  link_.forward(frame, id, epoch_);
}

void Pusher::commit() {
  const std::uint64_t chunks = chunks_in_epoch_.exchange(0);
  link_.send(header_of(Type::commit, 0, epoch_), encode(Two{chunks, 0}));
  const Frame frame = link_.receive(Type::done);
  if (frame.header.epoch != epoch_) throw ProtocolError("another epoch was taken over than was sent");
  chunks_sent_ += chunks;
  ++epoch_;
}

void Pusher::bye(bool nothing_done) {
  link_.send(header_of(Type::bye, 0, 0, nothing_done ? kNothingDone : 0));
  link_.receive(Type::bye);
}

}  // namespace r3::sync
