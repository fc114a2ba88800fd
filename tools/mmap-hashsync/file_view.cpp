// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/file_view.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/ranges.hpp"

namespace r3::sync {

namespace {

constexpr std::uint64_t kSector = 512;   // of st_blocks
constexpr std::uint64_t kSlack = 16 * MiB;  // mapped behind the end, for files that grow

struct stat status_of(int fd, const std::string& name) {
  struct stat found;
  check(::fstat(fd, &found), name);
  return found;
}

}  // namespace

FileView::FileView(Fd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {
  const auto found = status_of(fd_.get(), name_);
  if (S_ISDIR(found.st_mode)) fail(EISDIR, name_);
  if (!S_ISREG(found.st_mode) && !S_ISBLK(found.st_mode))
    throw std::invalid_argument(name_ + ": neither a file nor a block device");
}

std::uint64_t FileView::refresh() {
  const auto found = status_of(fd_.get(), name_);
  const bool device = S_ISBLK(found.st_mode);
  size_ = device ? static_cast<std::uint64_t>(check(::lseek(fd_.get(), 0, SEEK_END), name_))
                 : static_cast<std::uint64_t>(found.st_size);
  sparse_ = !device && static_cast<std::uint64_t>(found.st_blocks) * kSector < size_;
  if (mappable_ && size_ > mapping_.bytes().size()) {
    const std::uint64_t length = device ? size_ : size_ + std::max(size_ / 4, kSlack);
    mapping_ = Mapping();  // the old one first: address space may be short
    mapping_ = Mapping::of_file_if_possible(fd_.get(), static_cast<std::size_t>(length));
    mappable_ = !mapping_.empty();
  }
  return size_;
}

const std::byte* FileView::mapped(std::uint64_t offset) const {
  return mapping_.empty() ? nullptr : mapping_.bytes().data() + offset;
}

void FileView::read(std::uint64_t offset, Bytes into) const {
  const auto n = pread_full(fd_.get(), into, offset, name_);
  if (n < into.size()) std::memset(into.data() + n, 0, into.size() - n);
}

void FileView::extents(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& found) const {
  append_file_extents(found, fd_.get(), offset, length, SIZE_MAX - 1);
}

Identity identity_of(int fd, const std::string& name) {
  const auto found = status_of(fd, name);
  return {found.st_dev, found.st_ino};
}

}  // namespace r3::sync
