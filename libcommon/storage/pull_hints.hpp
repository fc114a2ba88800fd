// SPDX-License-Identifier: Apache-2.0
// What a region's own bytes say about which of them are wanted first: one function a format, each in its
// own file (pull_hint_*.cpp). They read a little of the region and name ranges; wrong advice costs time,
// never a wrong byte. The bytes are not trusted: every hint ends after a bounded number of reads, and
// what lies outside the region is left out. They wait for the region, so they run beside the puller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/pull_source.hpp"

namespace r3 {

// A part of a region, as a hint sees it: offsets count from the part's start.
class HintView {
 public:
  using Want = std::function<void(PullRange)>;

  static constexpr std::uint64_t kMostReads = 4096;  // of kWindow bytes, by all hints of a region
  static constexpr std::uint64_t kWindow = 64 * KiB;

  // All three have to live as long as the view; `want` gets offsets in the region.
  HintView(Backend& region, const Stop& stop, const Want& want);
  // A part of what `whole` shows; they share what is left of the reads.
  HintView(const HintView& whole, std::uint64_t offset, std::uint64_t length);

  std::uint64_t size() const { return size_; }
  // Fills `into` (at most kWindow bytes); false: past the end, too many reads, or stopped.
  bool read(Bytes into, std::uint64_t offset);
  // Names a range, the most urgent first.
  void want(std::uint64_t offset, std::uint64_t length);

 private:
  struct Shared {
    Backend& region;
    const Stop& stop;
    const Want& want;
    std::vector<std::byte> bytes;  // of one window
    std::uint64_t window = ~0ULL;  // its number
    std::uint64_t reads = 0;
  };
  bool load(std::uint64_t window);

  const std::shared_ptr<Shared> shared_;
  const std::uint64_t start_;
  const std::uint64_t size_;
};

// Each is false, and has named nothing, if the bytes are not of its kind.
//
// ext2, ext3, ext4: superblock, group descriptors, root directory, the journal's start (all of it if it
// is to be replayed), inode tables as far as they are used, then the bitmaps.
bool hint_ext4(HintView& view);
// SQLite 3: the header, the schema, then the interior pages of all trees, level by level.
bool hint_sqlite(HintView& view);
// MP4, QuickTime: the index (moov) wherever it is, then those of fragments.
bool hint_mp4(HintView& view);
// ELF: headers, what the dynamic linker reads and writes, code around the entry point.
bool hint_elf(HintView& view);
// A script (#!): its beginning.
bool hint_script(HintView& view);
// MBR and GPT: the tables, then the above for each partition.
bool hint_disk(HintView& view);

using Hint = bool (*)(HintView&);
struct NamedHint {
  std::string_view name;  // "ext4", ...
  Hint hint;
};
const std::vector<NamedHint>& all_hints();
// The hint for what the region is, if it is known: its name; otherwise empty.
std::string_view hint_any(HintView& view);

}  // namespace r3
