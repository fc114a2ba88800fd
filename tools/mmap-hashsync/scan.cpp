// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/scan.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>

#include "libcommon/base/tasks.hpp"
#include "tools/mmap-hashsync/sigbus.hpp"

namespace r3::sync {

namespace {

constexpr std::uint64_t kPiece = 4 * kGroup;  // chunks that a thread takes at a time: whole groups, so that
                                              // no two threads write to the same group of a table
constexpr std::uint64_t kWorthAThread = 4 * MiB;
constexpr std::size_t kReadAhead = 256 * KiB;  // of what is not mapped: stays in the processor's cache

// Runs cut where pieces end, and where each piece's begin.
struct Pieces {
  std::vector<Run> runs;
  std::vector<std::size_t> begins;
  std::uint64_t data_chunks = 0;
};

Pieces cut(std::span<const Run> runs) {
  Pieces pieces;
  std::uint64_t last = ~0ULL;
  for (Run run : runs) {
    if (!run.hole) pieces.data_chunks += run.count;
    while (run.count > 0) {
      const std::uint64_t piece = run.first / kPiece;
      if (piece != last) pieces.begins.push_back(pieces.runs.size());
      last = piece;
      const auto length = std::min(run.count, (piece + 1) * kPiece - run.first);
      pieces.runs.push_back({run.first, length, run.hole});
      run.first += length;
      run.count -= length;
    }
  }
  return pieces;
}

// Calls work(worker, runs of one piece) for all pieces; the threads take them as they get free.
using Work = std::function<void(std::span<const Run>)>;
void share_out(const Pieces& pieces, unsigned threads, std::uint32_t chunk,
               const std::function<Work()>& make_worker) {
  std::atomic<std::size_t> next{0};
  const auto body = [&] {
    const Work work = make_worker();
    for (std::size_t i; (i = next++) < pieces.begins.size();) {
      const auto end = i + 1 < pieces.begins.size() ? pieces.begins[i + 1] : pieces.runs.size();
      work(std::span(pieces.runs).subspan(pieces.begins[i], end - pieces.begins[i]));
    }
    work({});
  };
  const auto useful = pieces.data_chunks * chunk / kWorthAThread + 1;
  TaskGroup group;
  for (std::uint64_t i = 1; i < std::min<std::uint64_t>(threads, useful); ++i) group.spawn(body);
  body();
  group.join();
}

// The hashes of at most a group of chunks, through the mapping if that works.
class Looker {
 public:
  Looker(const Hasher& hasher, const FileView& file, const Geometry& geometry)
      : hasher_(hasher), file_(file), geometry_(geometry),
        buffer_(std::max<std::size_t>(geometry.chunk, kReadAhead)) {}

  void hash(std::uint64_t first, std::uint64_t count, Hash* into) {
    const std::byte* const at = file_.mapped(geometry_.offset(first));
    if (at && reads_without_sigbus([&] {
          for (std::uint64_t i = 0; i < count; ++i)
            into[i] = hasher_.of({at + i * geometry_.chunk, geometry_.length(first + i)});
        }))
      return;
    const std::uint64_t at_once = buffer_.size() / geometry_.chunk;
    for (std::uint64_t i = 0; i < count; i += at_once)
      read_and_hash(first + i, std::min(at_once, count - i), into + i);
  }

  // Whether the chunk's bytes are those at `before`.
  bool same(std::uint64_t index, const std::byte* before) {
    const std::byte* const at = file_.mapped(geometry_.offset(index));
    const auto length = geometry_.length(index);
    bool equal = false;
    if (at && reads_without_sigbus([&] { equal = std::memcmp(at, before, length) == 0; })) return equal;
    const Bytes room = Bytes(buffer_).first(length);
    file_.read(geometry_.offset(index), room);
    return std::memcmp(room.data(), before, length) == 0;
  }

  void copy(std::uint64_t index, Bytes into) {
    const std::byte* const at = file_.mapped(geometry_.offset(index));
    if (at && reads_without_sigbus([&] { std::memcpy(into.data(), at, into.size()); })) return;
    file_.read(geometry_.offset(index), into);
  }

 private:
  void read_and_hash(std::uint64_t first, std::uint64_t count, Hash* into) {
    const auto begin = geometry_.offset(first), last = first + count - 1;
    const Bytes bytes = Bytes(buffer_).first(geometry_.offset(last) + geometry_.length(last) - begin);
    file_.read(begin, bytes);
    for (std::uint64_t i = 0; i < count; ++i)
      into[i] = hasher_.of(bytes.subspan(geometry_.offset(i), geometry_.length(first + i)));
  }

  const Hasher& hasher_;
  const FileView& file_;
  const Geometry geometry_;
  std::vector<std::byte> buffer_;
};

// One thread's search for changed chunks.
class Search {
 public:
  Search(const Scan& scan, const FileView& file, HashTable& known, std::uint32_t id, Outlet& outlet,
         Shadow* shadow, std::atomic<std::uint64_t>& sent)
      : hasher_(scan.hasher), known_(known), geometry_(known.geometry()), shadow_(shadow),
        looker_(hasher_, file, geometry_), batcher_(id, geometry_, outlet), sent_(sent) {}

  void look(const Run& run) {
    for (std::uint64_t at = run.first, end = run.first + run.count; at < end;) {
      const auto count = std::min(end - at, kGroup - at % kGroup);
      if (run.hole) look_at_hole(at, count);
      else if (shadow_) compare_bytes(at, count);
      else compare_hashes(at, count);
      at += count;
    }
  }
  void flush() { batcher_.flush(); }

 private:
  void compare_hashes(std::uint64_t first, std::uint64_t count) {
    Hash now[kGroup];
    looker_.hash(first, count, now);
    for (std::uint64_t i = 0; i < count; ++i)
      if (now[i] != known_.at(first + i)) take(first + i);
  }

  void compare_bytes(std::uint64_t first, std::uint64_t count) {
    for (std::uint64_t i = first; i < first + count; ++i)
      if (shadow_->fresh || !looker_.same(i, shadow_->copy.bytes().data() + geometry_.offset(i))) take(i);
  }

  void look_at_hole(std::uint64_t first, std::uint64_t count) {
    if (!known_.group(first / kGroup)) return;
    for (std::uint64_t i = first; i < first + count; ++i)
      if (known_.at(i) != Hash{}) take_zeroes(i);
  }

  void take(std::uint64_t index) {
    const Bytes copy = batcher_.room(index);
    looker_.copy(index, copy);
    const Hash hash = hasher_.of(copy);
    if (shadow_) std::memcpy(shadow_->copy.bytes().data() + geometry_.offset(index), copy.data(), copy.size());
    if (hash == known_.at(index)) return;
    if (hash == Hash{}) return take_zeroes(index);
    known_.set(index, hash);
    batcher_.add(index, hash);
    ++sent_;
  }

  void take_zeroes(std::uint64_t index) {
    if (shadow_) std::memset(shadow_->copy.bytes().data() + geometry_.offset(index), 0, geometry_.length(index));
    known_.set(index, {});
    batcher_.add_zeroes(index);
    ++sent_;
  }

  const Hasher& hasher_;
  HashTable& known_;
  const Geometry geometry_;
  Shadow* const shadow_;
  Looker looker_;
  Batcher batcher_;
  std::atomic<std::uint64_t>& sent_;
};

// The chunks that an extent of data touches are data; holes are what is left.
void append_run(std::vector<Run>& runs, std::uint64_t first, std::uint64_t end, bool hole) {
  if (first >= end) return;
  if (!runs.empty() && runs.back().hole == hole) runs.back().count += end - first;
  else runs.push_back({first, end - first, hole});
}

}  // namespace

std::vector<Run> runs_of(const FileView& file, const Geometry& geometry) {
  const auto chunks = geometry.chunks();
  if (chunks == 0) return {};
  // What lies behind the end of the file, if it is shorter than that, is a hole.
  const auto there = std::min(geometry.size, file.size());
  std::vector<Extent> extents;
  if (file.may_have_holes()) file.extents(0, there, extents);
  else extents.push_back({0, there, false, false});
  std::vector<Run> runs;
  std::uint64_t done = 0;
  for (const Extent& extent : extents) {
    if (extent.hole) continue;
    const auto first = std::max(done, extent.offset / geometry.chunk);
    const auto end = std::min(chunks, (extent.offset + extent.length + geometry.chunk - 1) / geometry.chunk);
    if (first >= end) continue;
    append_run(runs, done, first, true);
    append_run(runs, first, end, false);
    done = end;
  }
  append_run(runs, done, chunks, true);
  return runs;
}

void hash_file(const Scan& scan, const FileView& file, HashTable& into) {
  const Geometry geometry = into.geometry();
  const auto runs = runs_of(file, geometry);
  share_out(cut(runs), scan.threads, geometry.chunk, [&]() -> Work {
    auto looker = std::make_shared<Looker>(scan.hasher, file, geometry);
    return [&, looker](std::span<const Run> piece) {
      Hash now[kGroup];
      for (const Run& run : piece) {
        if (run.hole) continue;
        for (std::uint64_t at = run.first, end = run.first + run.count; at < end;) {
          const auto count = std::min(end - at, kGroup - at % kGroup);
          looker->hash(at, count, now);
          for (std::uint64_t i = 0; i < count; ++i) into.set(at + i, now[i]);
          at += count;
        }
      }
    };
  });
}

std::uint64_t send_changes(const Scan& scan, const FileView& file, std::span<const Run> runs,
                           HashTable& known, std::uint32_t id, Outlet& outlet, Shadow* shadow) {
  std::atomic<std::uint64_t> sent{0};
  share_out(cut(runs), scan.threads, known.geometry().chunk, [&]() -> Work {
    auto search = std::make_shared<Search>(scan, file, known, id, outlet, shadow, sent);
    return [search](std::span<const Run> piece) {
      for (const Run& run : piece) search->look(run);
      if (piece.empty()) search->flush();
    };
  });
  if (shadow) shadow->fresh = false;
  return sent;
}

}  // namespace r3::sync
