// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/uffd_layout.hpp"

#include <algorithm>
#include <cstdio>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kEndOfAddresses = std::uint64_t{1} << 56;  // 5-level paging

[[noreturn]] void refuse(std::size_t number, const std::string& why) {
  throw ProtocolError("range " + std::to_string(number) + " " + why);
}

void check_range(const UffdRange& range, std::size_t number, std::uint64_t region_size) {
  const auto page = range.page_size;
  if (page != 4 * KiB && page != 2 * MiB && page != GiB)
    refuse(number, "has pages of " + std::to_string(page) + " bytes: 4096, 2097152 and 1073741824 are known");
  if (range.length == 0) refuse(number, "is empty");
  if (range.address % page != 0 || range.length % page != 0 || range.offset % page != 0)
    refuse(number, "is not made of whole pages");
  if (range.address == 0 || range.address >= kEndOfAddresses || range.length > kEndOfAddresses - range.address)
    refuse(number, "is outside of a process's address space");
  const auto end = region_size > ~page ? region_size : round_up(region_size, page);
  if (range.offset > end || range.length > end - range.offset)
    refuse(number, "ends beyond the region, which has " + std::to_string(region_size) + " bytes");
}

}  // namespace

void check_ranges(const std::vector<UffdRange>& ranges, std::uint64_t region_size) {
  if (ranges.empty()) throw ProtocolError("no range was handed over");
  for (std::size_t i = 0; i < ranges.size(); ++i) check_range(ranges[i], i, region_size);
  auto sorted = ranges;
  std::sort(sorted.begin(), sorted.end(), [](auto& a, auto& b) { return a.address < b.address; });
  for (std::size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i].address - sorted[i - 1].address < sorted[i - 1].length)
      throw ProtocolError("two ranges overlap");
}

std::string address_text(std::uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

UffdLayout::UffdLayout(std::vector<UffdRange> ranges) : ranges_(std::move(ranges)) {
  for (std::size_t i = 0; i < ranges_.size(); ++i)
    pieces_[ranges_[i].address] = {ranges_[i].length, {i, 0}};
}

std::optional<UffdLayout::Found> UffdLayout::at(std::uint64_t address) const {
  auto after = pieces_.upper_bound(address);
  if (after == pieces_.begin()) return {};
  const auto& [start, piece] = *--after;
  if (address - start >= piece.length) return {};
  const auto pages = (address - start) / ranges_[piece.first.range].page_size;
  const auto skipped = pages * ranges_[piece.first.range].page_size;
  return Found{{piece.first.range, piece.first.page + pages}, piece.length - skipped};
}

std::optional<UffdLayout::Stretch> UffdLayout::where(const Place& place) const {
  for (const auto& [start, piece] : pieces_) {
    if (piece.first.range != place.range || place.page < piece.first.page) continue;
    const auto skipped = (place.page - piece.first.page) * ranges_[place.range].page_size;
    if (skipped < piece.length) return Stretch{start + skipped, piece.length - skipped};
  }
  return {};
}

std::vector<UffdLayout::Stretch> UffdLayout::stretches() const {
  std::vector<Stretch> all;
  for (const auto& [start, piece] : pieces_) all.push_back({start, piece.length});
  return all;
}

void UffdLayout::split(std::uint64_t address) {
  auto after = pieces_.upper_bound(address);
  if (after == pieces_.begin()) return;
  auto& [start, piece] = *--after;
  if (address == start || address - start >= piece.length) return;
  const auto pages = (address - start) / ranges_[piece.first.range].page_size;
  const Piece rest{piece.length - (address - start), {piece.first.range, piece.first.page + pages}};
  piece.length = address - start;
  pieces_[address] = rest;
}

UffdLayout::Pieces UffdLayout::take(std::uint64_t from, std::uint64_t length) {
  split(from);
  split(from + length);
  Pieces taken;
  for (auto piece = pieces_.lower_bound(from); piece != pieces_.end() && piece->first - from < length;) {
    taken.insert(*piece);
    piece = pieces_.erase(piece);
  }
  return taken;
}

void UffdLayout::moved(std::uint64_t from, std::uint64_t to, std::uint64_t length) {
  const Pieces taken = take(from, length);
  take(to, length);  // whatever was there has been replaced
  for (const auto& [start, piece] : taken) pieces_[to + (start - from)] = piece;
}

void UffdLayout::unmapped(std::uint64_t from, std::uint64_t length) {
  take(from, length);
}

}  // namespace r3
