// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/cached_disk.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/ranges.hpp"

namespace r3 {

FileDisk::FileDisk(const std::string& path) : path_(path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    fail(EINVAL, path + ": a cache is a regular file");
  file_ = open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  if (::fcntl(file_.get(), F_OFD_SETLK, &whole) < 0) {
    if (errno == EAGAIN || errno == EACCES) fail(EBUSY, path + ": used by another r3-mount");
    fail(errno, path);
  }
  struct statfs system {};
  in_memory_ = ::fstatfs(file_.get(), &system) == 0 && system.f_type == TMPFS_MAGIC;
}

std::uint64_t FileDisk::size() {
  struct stat status {};
  check(::fstat(file_.get(), &status), path_);
  return static_cast<std::uint64_t>(status.st_size);
}

void FileDisk::grow(std::uint64_t size, std::uint64_t reserved) {
  check(::ftruncate(file_.get(), static_cast<off_t>(size)), path_);
  const int error = ::posix_fallocate(file_.get(), 0, static_cast<off_t>(reserved));
  if (error != 0) fail(error, path_);
}

void FileDisk::read(Bytes into, std::uint64_t offset) {
  if (pread_full(file_.get(), into, offset, path_) < into.size())
    fail(EIO, path_ + ": the file has become shorter");
}

bool FileDisk::try_read(Bytes into, std::uint64_t offset) {
  // tmpfs knows no RWF_NOWAIT, and needs none.
  if (in_memory_) return pread_full(file_.get(), into, offset, path_) == into.size();
  return read_without_waiting(file_.get(), into, offset);
}

void FileDisk::write(ConstBytes from, std::uint64_t offset) {
  pwrite_full(file_.get(), from, offset, path_);
}

void FileDisk::punch(std::uint64_t offset, std::uint64_t length, bool keep) {
  if (zero_quickly(file_.get(), offset, length, keep, path_)) return;
  if (!keep) return;  // what is given back is never read
  const std::vector<std::byte> zeroes(64 * KiB);
  while (length > 0) {
    const auto part = std::min<std::uint64_t>(length, zeroes.size());
    write(ConstBytes(zeroes).first(part), offset);
    offset += part;
    length -= part;
  }
}

void FileDisk::sync() { check(::fdatasync(file_.get()), path_); }

Bytes FileDisk::map(std::uint64_t offset, std::uint64_t length) {
  mapped_ = Mapping::of_file(file_.get(), offset, length, true);
  return mapped_.bytes();
}

}  // namespace r3
