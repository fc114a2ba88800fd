// SPDX-License-Identifier: Apache-2.0
// MP4 and QuickTime: a file is a row of boxes, each a length and a four-letter type (ISO/IEC 14496-12, 4.2).
#include <array>
#include <optional>
#include <string_view>

#include "libcommon/storage/pull_hints.hpp"

namespace r3 {

namespace {

constexpr std::size_t kMostBoxes = 2048;  // a long film in fragments has a pair for every few seconds
constexpr std::uint64_t kHeader = 16;
constexpr int kHeaderOnly = 2, kRanks = 4;  // see rank()

struct Box {
  std::string type;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  // with its header
};

std::optional<Box> read_box(HintView& view, std::uint64_t offset) {
  std::array<std::byte, kHeader> header{};
  const std::uint64_t left = view.size() - offset;
  const std::size_t there = left < header.size() ? 8 : header.size();
  if (!view.read(Bytes(header).first(there), offset)) return {};
  Box box{std::string(as_text(ConstBytes(header).subspan(4, 4))), offset, 0};
  box.length = load_be<std::uint32_t>(header.data());
  std::uint64_t least = 8;
  if (box.length == 0) box.length = left;  // the last one, up to the end
  if (box.length == 1) {
    box.length = load_be<std::uint64_t>(&header[8]);
    least = 16;
  }
  if (box.length < least) return {};  // damage
  return box;
}

bool is_one_of(const Box& box, std::initializer_list<std::string_view> types) {
  for (const std::string_view type : types)
    if (box.type == type) return true;
  return false;
}

// The index goes first wherever it is, what describes fragments follows. Of media data only the header is
// named: a reader goes from header to header.
int rank(const Box& box) {
  if (is_one_of(box, {"moov"})) return 0;
  if (is_one_of(box, {"ftyp", "sidx", "mfra", "meta"})) return 1;
  if (is_one_of(box, {"moof"})) return 3;
  return kHeaderOnly;
}

}  // namespace

bool hint_mp4(HintView& view) {
  std::optional<Box> box = read_box(view, 0);
  if (!box || !is_one_of(*box, {"ftyp", "moov", "mdat", "wide", "free", "skip", "pnot", "styp"}))
    return false;
  std::vector<Box> boxes;
  while (box && boxes.size() < kMostBoxes) {
    boxes.push_back(*box);
    if (box->length >= view.size() - box->offset) break;
    box = read_box(view, box->offset + box->length);
  }
  for (int wanted = 0; wanted < kRanks; ++wanted)
    for (const Box& one : boxes)
      if (rank(one) == wanted)
        view.want(one.offset, wanted == kHeaderOnly ? kHeader : one.length);
  return true;
}

}  // namespace r3
