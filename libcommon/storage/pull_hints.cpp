// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/pull_hints.hpp"

#include <algorithm>
#include <cstring>

namespace r3 {

HintView::HintView(Backend& region, const Stop& stop, const Want& want)
    : shared_(new Shared{region, stop, want, {}}), start_(0), size_(region.size()) {}

HintView::HintView(const HintView& whole, std::uint64_t offset, std::uint64_t length)
    : shared_(whole.shared_),
      start_(whole.start_ + std::min(offset, whole.size_)),
      size_(std::min(length, whole.size_ - std::min(offset, whole.size_))) {}

bool HintView::read(Bytes into, std::uint64_t offset) {
  if (offset > size_ || into.size() > size_ - offset) return false;
  std::uint64_t at = start_ + offset;
  while (!into.empty()) {
    if (!load(at / kWindow)) return false;
    const std::uint64_t skip = at % kWindow;
    const std::size_t count = std::min<std::size_t>(into.size(), kWindow - skip);
    std::memcpy(into.data(), &shared_->bytes[skip], count);
    into = into.subspan(count);
    at += count;
  }
  return true;
}

// Small reads of neighbouring things cost one trip, not one each.
bool HintView::load(std::uint64_t window) {
  Shared& shared = *shared_;
  if (shared.window == window) return true;
  if (shared.reads == kMostReads || shared.stop.requested()) return false;
  ++shared.reads;
  const std::uint64_t from = window * kWindow;
  shared.window = ~0ULL;
  shared.bytes.resize(std::min(kWindow, shared.region.size() - from));
  shared.region.read_at(shared.bytes, from);
  shared.window = window;
  return true;
}

void HintView::want(std::uint64_t offset, std::uint64_t length) {
  if (offset >= size_ || length == 0) return;
  shared_->want({start_ + offset, std::min(length, size_ - offset)});
}

const std::vector<NamedHint>& all_hints() {
  static const std::vector<NamedHint> hints = {
      {"ext4", hint_ext4}, {"sqlite", hint_sqlite}, {"mp4", hint_mp4},
      {"elf", hint_elf},   {"script", hint_script}, {"disk", hint_disk},
  };
  return hints;
}

std::string_view hint_any(HintView& view) {
  for (const NamedHint& one : all_hints())
    if (one.hint(view)) return one.name;
  return {};
}

}  // namespace r3
