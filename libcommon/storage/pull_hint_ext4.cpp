// SPDX-License-Identifier: Apache-2.0
// ext2, ext3 and ext4, after Documentation/filesystems/ext4 of Linux. All integers are little-endian.
#include <algorithm>
#include <array>
#include <optional>

#include "libcommon/storage/pull_hints.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kSuperblockAt = 1024;
constexpr std::uint32_t kGdtChecksum = 0x10, kMetadataChecksum = 0x400;  // ro_compat: flags are valid
constexpr std::uint32_t kRecover = 0x4, kMetaGroups = 0x10, k64Bit = 0x80;  // incompat
constexpr std::uint16_t kInodesUnused = 1, kBlocksUnused = 2;               // of a group: no bitmap yet
constexpr std::uint32_t kExtentsFlag = 0x80000;
constexpr std::uint32_t kRootInode = 2, kJournalInode = 8;
constexpr std::uint64_t kMostGroups = 1 << 20;  // 128 TiB of 4 KiB blocks

struct Filesystem {
  std::uint64_t block = 0;
  std::uint64_t groups = 0;
  std::uint64_t descriptor = 0;  // bytes
  std::uint64_t first_data_block = 0;
  std::uint64_t blocks_per_group = 0;
  std::uint64_t inodes_per_group = 0;
  std::uint64_t inode = 0;           // bytes
  std::uint64_t first_meta_group = 0;  // in blocks of descriptors; where the old layout ends
  bool flags_valid = false;
  bool to_be_recovered = false;
};

struct Group {
  std::uint64_t block_bitmap = 0, inode_bitmap = 0, inode_table = 0;  // blocks
  std::uint64_t used_inodes = 0;  // at most, from the table's start
  bool blocks_unused = false;
};

template <class Integer>
std::uint64_t at(const std::byte* bytes, std::size_t offset) {
  return load_le<Integer>(bytes + offset);
}

std::optional<Filesystem> read_superblock(HintView& view) {
  std::array<std::byte, 1024> bytes;
  const std::byte* b = bytes.data();
  if (!view.read(bytes, kSuperblockAt) || at<std::uint16_t>(b, 0x38) != 0xef53) return {};
  const std::uint64_t log_block = at<std::uint32_t>(b, 0x18);
  const std::uint64_t incompatible = at<std::uint32_t>(b, 0x60);
  const std::uint64_t read_only = at<std::uint32_t>(b, 0x64);
  const bool wide = incompatible & k64Bit;
  const std::uint64_t blocks =
      at<std::uint32_t>(b, 0x04) | (wide ? at<std::uint32_t>(b, 0x150) << 32 : 0);
  Filesystem fs;
  if (log_block > 6) return {};
  fs.block = 1024ULL << log_block;
  fs.first_data_block = at<std::uint32_t>(b, 0x14);
  fs.blocks_per_group = at<std::uint32_t>(b, 0x20);
  fs.inodes_per_group = at<std::uint32_t>(b, 0x28);
  fs.inode = at<std::uint32_t>(b, 0x4c) == 0 ? 128 : at<std::uint16_t>(b, 0x58);
  fs.descriptor = wide ? at<std::uint16_t>(b, 0xfe) : 32;
  fs.first_meta_group = incompatible & kMetaGroups ? at<std::uint32_t>(b, 0x104) : kMostGroups;
  fs.flags_valid = read_only & (kGdtChecksum | kMetadataChecksum);
  fs.to_be_recovered = incompatible & kRecover;
  const bool sane = fs.blocks_per_group > 0 && fs.inodes_per_group > 0 && fs.inode >= 128 &&
                    fs.inode <= fs.block && fs.descriptor >= 32 && fs.descriptor <= fs.block &&
                    fs.block % fs.descriptor == 0 && blocks > fs.first_data_block;
  if (!sane) return {};
  fs.groups = (blocks - fs.first_data_block - 1) / fs.blocks_per_group + 1;
  fs.groups = std::min(fs.groups, kMostGroups);
  return fs;
}

// Where the block of descriptors is that has this group's.
std::uint64_t descriptor_block(const Filesystem& fs, std::uint64_t group) {
  const std::uint64_t in_block = fs.block / fs.descriptor;
  const std::uint64_t number = group / in_block;
  if (number < fs.first_meta_group) return fs.first_data_block + 1 + number;
  // In the first group of those that it describes, which is an even one: of these only group 0 has a copy
  // of the superblock before it (sparse_super).
  const std::uint64_t first = fs.first_data_block + number * in_block * fs.blocks_per_group;
  return number == 0 ? first + 1 : first;
}

std::optional<Group> read_group(HintView& view, const Filesystem& fs, std::uint64_t group) {
  std::array<std::byte, 64> bytes{};
  const std::size_t length = std::min<std::uint64_t>(fs.descriptor, bytes.size());
  const std::uint64_t offset = descriptor_block(fs, group) * fs.block +
                               group % (fs.block / fs.descriptor) * fs.descriptor;
  if (!view.read(Bytes(bytes).first(length), offset)) return {};
  const std::byte* b = bytes.data();  // the upper halves read as zero where they are not there
  Group found;
  found.block_bitmap = at<std::uint32_t>(b, 0x00) | at<std::uint32_t>(b, 0x20) << 32;
  found.inode_bitmap = at<std::uint32_t>(b, 0x04) | at<std::uint32_t>(b, 0x24) << 32;
  found.inode_table = at<std::uint32_t>(b, 0x08) | at<std::uint32_t>(b, 0x28) << 32;
  found.used_inodes = fs.inodes_per_group;
  if (!fs.flags_valid) return found;
  const std::uint64_t flags = at<std::uint16_t>(b, 0x12);
  const std::uint64_t unused = at<std::uint16_t>(b, 0x1c) | at<std::uint16_t>(b, 0x32) << 16;
  if (flags & kInodesUnused) found.used_inodes = 0;
  else found.used_inodes -= std::min(unused, fs.inodes_per_group);
  found.blocks_unused = flags & kBlocksUnused;
  return found;
}

// Block numbers of a hostile file system go up to 2^64: the product must not wrap into the region.
void want_blocks(HintView& view, const Filesystem& fs, std::uint64_t block, std::uint64_t bytes) {
  if (block < view.size() / fs.block + 1) view.want(block * fs.block, bytes);
}

// The data of an inode in group 0, as far as its own bytes name it: at most `most` bytes, or its extents
// in the tree's root.
void want_file(HintView& view, const Filesystem& fs, const Group& first, std::uint32_t number,
               std::uint64_t most) {
  std::array<std::byte, 128> inode;
  if (first.inode_table >= view.size() / fs.block) return;
  if (!view.read(inode, first.inode_table * fs.block + (number - 1) * fs.inode)) return;
  const std::byte* map = inode.data() + 0x28;
  if (!(at<std::uint32_t>(inode.data(), 0x20) & kExtentsFlag)) {
    for (std::size_t i = 0; i < 12 && i * fs.block < most; ++i)  // the direct blocks
      if (const auto block = at<std::uint32_t>(map, 4 * i); block != 0)
        want_blocks(view, fs, block, fs.block);
    return;
  }
  const bool leaf = at<std::uint16_t>(map, 0) == 0xf30a && at<std::uint16_t>(map, 6) == 0;
  const std::uint64_t entries = leaf ? std::min<std::uint64_t>(at<std::uint16_t>(map, 2), 4) : 0;
  for (std::size_t i = 0; i < entries && most > 0; ++i) {
    const std::byte* extent = map + 12 * (i + 1);
    const std::uint64_t block = at<std::uint32_t>(extent, 8) | at<std::uint16_t>(extent, 6) << 32;
    const std::uint64_t length = std::min((at<std::uint16_t>(extent, 4) & 0x7fff) * fs.block, most);
    want_blocks(view, fs, block, length);
    most -= length;
  }
}

void want_descriptors(HintView& view, const Filesystem& fs) {
  const std::uint64_t in_block = fs.block / fs.descriptor;
  for (std::uint64_t group = 0; group < fs.groups; group += in_block)
    want_blocks(view, fs, descriptor_block(fs, group), fs.block);
}

}  // namespace

bool hint_ext4(HintView& view) {
  const std::optional<Filesystem> fs = read_superblock(view);
  if (!fs) return false;
  view.want(0, std::max(fs->block, 2 * kSuperblockAt));
  want_descriptors(view, *fs);
  if (const auto first = read_group(view, *fs, 0)) {
    want_file(view, *fs, *first, kRootInode, 16 * fs->block);
    want_file(view, *fs, *first, kJournalInode, fs->to_be_recovered ? ~0ULL : fs->block);
  }
  std::vector<PullRange> bitmaps;  // in blocks; they are needed for writing only
  for (std::uint64_t number = 0; number < fs->groups; ++number) {
    const std::optional<Group> group = read_group(view, *fs, number);
    if (!group) break;
    if (group->used_inodes > 0) {
      want_blocks(view, *fs, group->inode_table, group->used_inodes * fs->inode);
      bitmaps.push_back({group->inode_bitmap, fs->block});
    }
    if (!group->blocks_unused) bitmaps.push_back({group->block_bitmap, fs->block});
  }
  for (const PullRange& bitmap : bitmaps) want_blocks(view, *fs, bitmap.offset, bitmap.length);
  return true;
}

}  // namespace r3
