// SPDX-License-Identifier: Apache-2.0
// Programs: ELF (System V ABI, chapters 4 and 5) in both widths and byte orders, and scripts.
#include <algorithm>
#include <array>
#include <cstring>

#include "libcommon/storage/pull_hints.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kAroundEntry = 128 * KiB;
constexpr std::uint64_t kLinkerTables = 4 * MiB;  // of the segment with symbols and relocations
constexpr std::uint64_t kScriptStart = 64 * KiB;
constexpr std::size_t kMostSegments = 256;
constexpr std::uint32_t kLoad = 1, kDynamic = 2, kInterpreter = 3;
constexpr std::uint32_t kExecutable = 1, kWritable = 2;

struct Segment {
  std::uint32_t type = 0;
  std::uint32_t flags = 0;
  std::uint64_t offset = 0, address = 0, bytes_in_file = 0;
};

struct Program {
  bool wide = false, big_endian = false;
  std::uint64_t entry = 0;
  std::uint64_t table = 0;  // of segments
  std::size_t entry_size = 0, segments = 0;
};

std::uint64_t load(const Program& program, const std::byte* from, std::size_t bytes) {
  if (bytes == 2) return program.big_endian ? load_be<std::uint16_t>(from) : load_le<std::uint16_t>(from);
  if (bytes == 4) return program.big_endian ? load_be<std::uint32_t>(from) : load_le<std::uint32_t>(from);
  return program.big_endian ? load_be<std::uint64_t>(from) : load_le<std::uint64_t>(from);
}

bool read_header(HintView& view, Program& program) {
  std::array<std::byte, 64> bytes{};
  const std::byte* b = bytes.data();
  if (!view.read(Bytes(bytes).first(52), 0) || std::memcmp(b, "\177ELF", 4) != 0) return false;
  program.wide = b[4] == std::byte{2};
  program.big_endian = b[5] == std::byte{2};
  if (program.wide && !view.read(bytes, 0)) return false;
  const std::size_t word = program.wide ? 8 : 4;
  program.entry = load(program, b + 24, word);
  program.table = load(program, b + 24 + word, word);
  program.entry_size = load(program, b + (program.wide ? 54 : 42), 2);
  program.segments = std::min(load(program, b + (program.wide ? 56 : 44), 2), kMostSegments);
  return true;
}

std::vector<Segment> read_segments(HintView& view, const Program& program) {
  std::vector<Segment> segments;
  const std::size_t length = program.wide ? 56 : 32;
  if (program.entry_size < length || program.table > view.size()) return {};
  for (std::size_t i = 0; i < program.segments; ++i) {
    std::array<std::byte, 56> bytes{};
    const std::byte* b = bytes.data();
    if (!view.read(Bytes(bytes).first(length), program.table + i * program.entry_size)) break;
    Segment one;
    one.type = static_cast<std::uint32_t>(load(program, b, 4));
    one.flags = static_cast<std::uint32_t>(load(program, b + (program.wide ? 4 : 24), 4));
    one.offset = load(program, b + (program.wide ? 8 : 4), program.wide ? 8 : 4);
    one.address = load(program, b + (program.wide ? 16 : 8), program.wide ? 8 : 4);
    one.bytes_in_file = load(program, b + (program.wide ? 32 : 16), program.wide ? 8 : 4);
    segments.push_back(one);
  }
  return segments;
}

void want_entry(HintView& view, const Segment& segment, std::uint64_t entry) {
  if (entry < segment.address || entry - segment.address >= segment.bytes_in_file) return;
  const std::uint64_t inside = entry - segment.address;
  const std::uint64_t before = std::min(inside, kAroundEntry / 2);
  const std::uint64_t length = std::min(kAroundEntry, segment.bytes_in_file - (inside - before));
  view.want(segment.offset + (inside - before), length);
}

}  // namespace

bool hint_elf(HintView& view) {
  Program program;
  if (!read_header(view, program)) return false;
  view.want(0, 4096);
  view.want(program.table, program.segments * program.entry_size);
  const std::vector<Segment> segments = read_segments(view, program);
  for (const Segment& one : segments)
    if (one.type == kInterpreter || one.type == kDynamic) view.want(one.offset, one.bytes_in_file);
  for (const Segment& one : segments)  // the first one holds symbols and relocations
    if (one.type == kLoad) {
      view.want(one.offset, std::min(one.bytes_in_file, kLinkerTables));
      break;
    }
  for (const Segment& one : segments)  // is relocated before the program starts
    if (one.type == kLoad && one.flags & kWritable) view.want(one.offset, one.bytes_in_file);
  for (const Segment& one : segments)
    if (one.type == kLoad && one.flags & kExecutable) want_entry(view, one, program.entry);
  for (const Segment& one : segments)  // not what no program reads: symbols for debuggers
    if (one.type == kLoad) view.want(one.offset, one.bytes_in_file);
  return true;
}

bool hint_script(HintView& view) {
  std::array<std::byte, 2> mark;
  if (!view.read(mark, 0) || as_text(mark) != "#!") return false;
  view.want(0, kScriptStart);
  return true;
}

}  // namespace r3
