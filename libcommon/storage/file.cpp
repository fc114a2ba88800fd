// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/ranges.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kLeastLent = 16 * KiB;
constexpr std::uint64_t kMostLent = 64 * MiB;

void refuse_unusual(const struct stat& status, const std::string& name) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK: return;
    case S_IFDIR: fail(EISDIR, name);
    case S_IFCHR: fail(ENOTBLK, name + ": a character device is no region");
    default: fail(ENOTBLK, name + ": neither a file nor a block device");
  }
}

Fd open_region_file(const std::string& path, bool read_only) {
  struct stat status {};
  check(::stat(path.c_str(), &status), path);
  // Before it is opened: opening some devices does something, opening a fifo waits.
  refuse_unusual(status, path);
  Fd file = open_file(path, (read_only ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY);
  set_nonblocking(file.get(), false);
  return file;
}

}  // namespace

FileBackend::FileBackend(const std::string& path, bool read_only)
    : FileBackend(open_region_file(path, read_only), path) {}

FileBackend::FileBackend(Fd file, std::string name)
    : file_(std::move(file)), name_(std::move(name)) {
  struct stat status {};
  check(::fstat(file_.get(), &status), name_);
  refuse_unusual(status, name_);
  const int flags = check(::fcntl(file_.get(), F_GETFL), name_);
  if ((flags & O_ACCMODE) == O_WRONLY) fail(EBADF, name_ + ": opened for writing only");
  if (flags & O_APPEND) fail(EINVAL, name_ + ": opened for appending");
  if (flags & O_DIRECT) fail(EINVAL, name_ + ": opened with O_DIRECT");
  read_only_ = (flags & O_ACCMODE) == O_RDONLY;
  block_device_ = S_ISBLK(status.st_mode);
  struct statfs system {};
  in_memory_ = ::fstatfs(file_.get(), &system) == 0 && system.f_type == TMPFS_MAGIC;
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (block_device_) check(::ioctl(file_.get(), BLKGETSIZE64, &size_), name_);
  // Such a device can be opened for writing all the same.
  int refuses_writes = 0;
  if (block_device_ && ::ioctl(file_.get(), BLKROGET, &refuses_writes) == 0 && refuses_writes)
    read_only_ = true;
  // mincore(2) calls everything resident, true or not, for files of others that we may not write.
  if (status.st_uid == ::geteuid() ||
      ::faccessat(file_.get(), "", W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0)
    map_if_possible();
}

void FileBackend::map_if_possible() {
  if (size_ < kLeastLent || size_ > SIZE_MAX / 2) return;
  mapping_ = Mapping::of_file_if_possible(file_.get(), static_cast<std::size_t>(size_));
}

// Whether the file still reaches to `end`.
bool FileBackend::inside_now(std::uint64_t end) const {
  if (block_device_) return true;
  struct stat status {};
  check(::fstat(file_.get(), &status), name_);
  return static_cast<std::uint64_t>(status.st_size) >= end;
}

void FileBackend::check_write(std::uint64_t offset, std::uint64_t length) const {
  if (read_only_) fail(EPERM, name_);
  check_write_range(size_, offset, length);
  if (!inside_now(offset + length)) fail(EIO, name_ + ": the file has become shorter");
}

void FileBackend::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (pread_full(file_.get(), into, offset, name_) < into.size())
    fail(EIO, name_ + ": the file has become shorter");
}

void FileBackend::write_at(ConstBytes from, std::uint64_t offset) {
  check_write(offset, from.size());
  pwrite_full(file_.get(), from, offset, name_);
}

void FileBackend::flush() {
  if (read_only_) return;
  if (const int earlier = flush_error_; earlier != 0)
    fail(earlier, name_ + ": an earlier flush failed");
  if (::fdatasync(file_.get()) == 0) return;
  const int error = errno;
  flush_error_ = error;
  fail(error, name_);
}

void FileBackend::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_write(offset, length);
  if (length == 0) return;
  // Devices take whole sectors only: the edges are written.
  const auto unit = block_device_ ? kPage : 1;
  const auto first = std::min(round_up(offset, unit), offset + length);
  const auto last = std::max(round_down(offset + length, unit), first);
  // A device may well write zeroes one by one for ZERO_RANGE, but never for PUNCH_HOLE.
  const bool slow_keeping = block_device_ && how.only_if_fast && how.keep_allocated;
  const bool zeroed =
      first < last && !slow_keeping &&
      (zero_quickly(file_.get(), first, last - first, how.keep_allocated, name_) ||
       (block_device_ && !how.only_if_fast &&
        zero_quickly(file_.get(), first, last - first, true, name_)));
  if (!zeroed) return Backend::zero_at(offset, length, how);
  if (offset < first) Backend::zero_at(offset, first - offset, {});
  if (last < offset + length) Backend::zero_at(last, offset + length - last, {});
}

void FileBackend::discard_at(std::uint64_t offset, std::uint64_t length) {
  if (read_only_) fail(EPERM, name_);
  check_read_range(size_, offset, length);
  if (!block_device_) {
    if (length > 0) zero_quickly(file_.get(), offset, length, false, name_);
    return;
  }
  const auto first = round_up(offset, kPage);
  const auto last = round_down(offset + length, kPage);
  if (first >= last) return;
  std::array<std::uint64_t, 2> range = {first, last - first};
  if (::ioctl(file_.get(), BLKDISCARD, range.data()) < 0 && errno != EOPNOTSUPP && errno != EINVAL)
    fail(errno, name_);
}

void FileBackend::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size_, offset, length);
  if (length == 0) return;  // would mean "to the end"
  ::posix_fadvise(file_.get(), static_cast<off_t>(offset), static_cast<off_t>(length),
                  POSIX_FADV_WILLNEED);
}

std::vector<Extent> FileBackend::extents(std::uint64_t offset, std::uint64_t length,
                                         std::size_t most) {
  check_read_range(size_, offset, length);
  std::vector<Extent> found;
  append_file_extents(found, file_.get(), offset, length, most);
  if (found.size() > most) found.resize(most);
  return found;
}

bool FileBackend::try_read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  // tmpfs knows no RWF_NOWAIT, and needs none.
  if (in_memory_) return pread_full(file_.get(), into, offset, name_) == into.size();
  return read_without_waiting(file_.get(), into, offset);
}

bool FileBackend::try_write_at(ConstBytes from, std::uint64_t offset) {
  check_write(offset, from.size());
  // A page that is written in part and not in memory would have to be read first.
  if (block_device_ || offset % kPage != 0 || from.size() % kPage != 0) return false;
  pwrite_full(file_.get(), from, offset, name_);
  return true;
}

ConstBytes FileBackend::borrow(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size_, offset, length);
  if (mapping_.empty() || length < kLeastLent || length > kMostLent) return {};
  if (!inside_now(offset + length)) return {};
  const auto first = round_down(offset, kPage);
  const auto range = mapping_.bytes().subspan(first, offset + length - first);
  std::array<unsigned char, kMostLent / kPage + 1> resident;
  if (::mincore(range.data(), range.size(), resident.data()) < 0) return {};
  const auto pages = (range.size() + kPage - 1) / kPage;
  const auto absent = [](unsigned char page) { return (page & 1) == 0; };
  if (std::any_of(resident.begin(), resident.begin() + static_cast<std::ptrdiff_t>(pages), absent))
    return {};
  return mapping_.bytes().subspan(offset, length);
}

}  // namespace r3
