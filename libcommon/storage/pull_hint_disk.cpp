// SPDX-License-Identifier: Apache-2.0
// Disks with partitions: MBR (sector 0) and GPT (UEFI 2.10, chapter 5). All integers are little-endian.
#include <algorithm>
#include <array>
#include <cstring>

#include "libcommon/storage/pull_hints.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kTables = 64 * KiB;  // at the start: both tables, a boot loader's first part
constexpr std::uint64_t kMostEntries = 128;
constexpr unsigned kProtective = 0xee;

// Sectors beyond the region (or beyond 2^64 bytes) make an empty range.
PullRange sectors(const HintView& view, std::uint64_t first, std::uint64_t count, std::uint64_t sector) {
  if (first > view.size() / sector) return {};
  return {first * sector, std::min(count, view.size() / sector - first) * sector};
}

std::vector<PullRange> read_mbr(HintView& view, ConstBytes sector, bool& protective) {
  std::vector<PullRange> found;
  for (std::size_t i = 0; i < 4; ++i) {
    const std::byte* entry = sector.data() + 446 + 16 * i;
    const auto type = std::to_integer<unsigned>(entry[4]);
    protective = protective || type == kProtective;
    const auto status = std::to_integer<unsigned>(entry[0]);
    if (status != 0 && status != 0x80) return {};  // a boot sector of something else
    if (type == 0) continue;
    const auto first = load_le<std::uint32_t>(entry + 8), count = load_le<std::uint32_t>(entry + 12);
    found.push_back(sectors(view, first, count, 512));
  }
  return found;
}

std::vector<PullRange> read_gpt(HintView& view, std::uint64_t sector) {
  std::array<std::byte, 92> header;
  if (!view.read(header, sector) || std::memcmp(header.data(), "EFI PART", 8) != 0) return {};
  const PullRange table = sectors(view, load_le<std::uint64_t>(&header[72]), ~0ULL, sector);
  const std::uint64_t entries = std::min<std::uint64_t>(load_le<std::uint32_t>(&header[80]), kMostEntries);
  const std::uint64_t entry_size = load_le<std::uint32_t>(&header[84]);
  if (entry_size < 128 || entry_size > 4096) return {};
  view.want(table.offset, entries * entry_size);
  std::vector<PullRange> found;
  for (std::uint64_t i = 0; i < entries; ++i) {
    std::array<std::byte, 48> entry;
    if (!view.read(entry, table.offset + i * entry_size)) break;
    if (all_zero(ConstBytes(entry).first(16))) continue;  // not used
    const auto first = load_le<std::uint64_t>(&entry[32]), last = load_le<std::uint64_t>(&entry[40]);
    if (last >= first) found.push_back(sectors(view, first, last - first + 1, sector));
  }
  return found;
}

}  // namespace

bool hint_disk(HintView& view) {
  std::array<std::byte, 512> sector;
  if (!view.read(sector, 0) || load_le<std::uint16_t>(&sector[510]) != 0xaa55) return false;
  bool protective = false;
  std::vector<PullRange> partitions = read_mbr(view, sector, protective);
  if (partitions.empty()) return false;
  view.want(0, kTables);
  if (protective) {
    partitions = read_gpt(view, 512);
    if (partitions.empty()) partitions = read_gpt(view, 4096);
  }
  for (const PullRange& one : partitions) {
    HintView inside(view, one.offset, one.length);
    for (const NamedHint& hint : all_hints())
      if (hint.hint != hint_disk && hint.hint(inside)) break;
  }
  return true;
}

}  // namespace r3
