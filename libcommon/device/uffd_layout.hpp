// SPDX-License-Identifier: Apache-2.0
// Where a region's bytes are in the address space of a process: ranges as they were handed over, and as
// they are after the process moved or removed parts of them. Arithmetic only; one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace r3 {

struct UffdRange {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
  std::uint64_t offset = 0;  // in the region
  std::uint64_t page_size = 4096;
  friend bool operator==(const UffdRange&, const UffdRange&) = default;
};

// Throws ProtocolError unless the ranges are whole pages of a known size, apart from each other, within
// the address space of a process, and begin and end within `region_size` rounded up to a page.
void check_ranges(const std::vector<UffdRange>& ranges, std::uint64_t region_size);

// "0x7f00...", for people.
std::string address_text(std::uint64_t address);

class UffdLayout {
 public:
  // A page: of which range, and which one of it.
  struct Place {
    std::size_t range = 0;
    std::uint64_t page = 0;
  };
  struct Found {
    Place place;
    std::uint64_t left = 0;  // bytes from the page's start that lie there in one piece
  };
  struct Stretch {
    std::uint64_t address = 0;
    std::uint64_t length = 0;
  };

  // The ranges have been checked.
  explicit UffdLayout(std::vector<UffdRange> ranges);

  const std::vector<UffdRange>& ranges() const { return ranges_; }
  std::optional<Found> at(std::uint64_t address) const;
  // Where a page is now, and how much follows it in one piece; nothing if it was unmapped.
  std::optional<Stretch> where(const Place& place) const;
  // All that is mapped now.
  std::vector<Stretch> stretches() const;

  // The process did mremap(2) or munmap(2).
  void moved(std::uint64_t from, std::uint64_t to, std::uint64_t length);
  void unmapped(std::uint64_t from, std::uint64_t length);

 private:
  struct Piece {
    std::uint64_t length;
    Place first;
  };
  using Pieces = std::map<std::uint64_t, Piece>;  // by address
  void split(std::uint64_t address);
  Pieces take(std::uint64_t from, std::uint64_t length);

  std::vector<UffdRange> ranges_;
  Pieces pieces_;
};

}  // namespace r3
