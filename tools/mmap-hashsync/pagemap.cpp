// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/pagemap.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <sstream>

#include "libcommon/base/error.hpp"

namespace r3::sync {

namespace {

// Of <linux/fs.h> since 6.7, which older headers do not have.
struct PageRegion {
  std::uint64_t start, end, categories;
};
struct PageScan {
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPageMapScan = _IOWR('f', 16, PageScan);
constexpr std::uint64_t kWritten = 2;                 // PAGE_IS_WRITTEN
constexpr std::uint64_t kProtectAndCheck = 1 | 2;     // PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC

std::string of_process(pid_t process, const char* file) {
  return "/proc/" + std::to_string(process) + "/" + file;
}

}  // namespace

PageMap::PageMap(pid_t process, const Identity& file, std::string path)
    : path_(std::move(path)), page_map_(open_file(of_process(process, "pagemap"), O_RDONLY)) {
  std::istringstream maps(read_small_file(of_process(process, "maps"), 64 << 20));
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t begin, end, offset, inode;
    unsigned major, minor;
    char rights[5];
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64, &begin, &end,
                    rights, &offset, &major, &minor, &inode) == 7 &&
        inode == file.inode && makedev(major, minor) == file.device && rights[1] == 'w' && rights[3] == 's')
      parts_.push_back({begin, end, offset});
  }
  if (parts_.empty())
    fail(ENOENT, path_ + ": process " + std::to_string(process) + " has not mapped it to write");
  std::ranges::sort(parts_, {}, &Part::offset);
  std::vector<Run> nothing;
  for (const Part& part : parts_) scan(part, {part.offset + 1, kLeastChunk}, nothing);
}

std::vector<Run> PageMap::written(const Geometry& geometry) {
  std::vector<Run> runs;
  for (const Part& part : parts_) scan(part, geometry, runs);
  std::ranges::sort(runs, {}, &Run::first);
  std::vector<Run> merged;
  for (const Run& run : runs) {
    const auto end = run.first + run.count;
    if (merged.empty() || run.first > merged.back().first + merged.back().count) merged.push_back(run);
    else if (auto& last = merged.back(); end > last.first + last.count) last.count = end - last.first;
  }
  return merged;
}

// Reading what was written and protecting it again is one step for each page: nothing is lost between.
void PageMap::scan(const Part& part, const Geometry& geometry, std::vector<Run>& runs) {
  std::array<PageRegion, 1024> found;
  for (std::uint64_t at = part.begin; at < part.end;) {
    PageScan scan{};
    scan.size = sizeof scan;
    scan.flags = kProtectAndCheck;
    scan.start = at;
    scan.end = part.end;
    scan.vec = reinterpret_cast<std::uintptr_t>(found.data());
    scan.vec_len = found.size();
    scan.category_mask = scan.return_mask = kWritten;
    const int n = ::ioctl(page_map_.get(), kPageMapScan, &scan);
    if (n < 0 && errno == EPERM) fail(EPERM, path_ + ": its writer does not track its writes (track_writes.hpp)");
    if (n < 0 && (errno == ENOTTY || errno == EINVAL)) fail(EOPNOTSUPP, path_ + ": the kernel has no PAGEMAP_SCAN");
    check(n, path_ + ": PAGEMAP_SCAN");
    for (int i = 0; i < n; ++i) {
      const auto& region = found[static_cast<std::size_t>(i)];
      const auto first = (region.start - part.begin + part.offset) / geometry.chunk;
      const auto end = std::min(geometry.chunks(),
                                (region.end - part.begin + part.offset + geometry.chunk - 1) / geometry.chunk);
      if (first < end) runs.push_back({first, end - first, false});
    }
    if (scan.walk_end <= at) break;
    at = scan.walk_end;
  }
}

}  // namespace r3::sync
