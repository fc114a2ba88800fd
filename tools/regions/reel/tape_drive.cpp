// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/tape_drive.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mtio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr long kCleaning = 0x00008000;  // GMT_CLN, of linux/mtio.h: glibc's header does not have it

Fd open_drive(const std::string& path, bool read_only) {
  int fd;
  do fd = ::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd >= 0) return Fd(fd);
  const int error = errno;
  if (error == EROFS) fail(error, path + ": the tape is write-protected (--read-only uses it so)");
  if (error == EBUSY) fail(error, path + ": another process uses the drive");
  if (error == EIO || error == ENOMEDIUM) fail(error, path + ": there is no tape in the drive, or it is not ready");
  fail(error, path);
}

}  // namespace

bool is_tape_drive(const std::string& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 && S_ISCHR(about.st_mode);
}

TapeDrive::TapeDrive(const std::string& path, bool read_only)
    : Tape(path), read_only_(read_only), drive_(open_drive(path, read_only)) {
  mtget about{};
  if (::ioctl(drive_.get(), MTIOCGET, &about) != 0) {
    if (errno == ENOTTY || errno == EINVAL) fail(ENOTTY, name() + " is no tape drive");
    fail(errno, name());
  }
  if (!read_only && GMT_WR_PROT(about.mt_gstat))
    fail(EROFS, name() + ": the tape is write-protected (--read-only uses it so)");
  block_ = static_cast<std::uint32_t>(about.mt_dsreg & 0xffffff);
}

void TapeDrive::refuse(int error, const std::string& what) {
  mtget about{};
  std::string why;
  if (::ioctl(drive_.get(), MTIOCGET, &about) == 0) {
    if (!GMT_ONLINE(about.mt_gstat) || GMT_DR_OPEN(about.mt_gstat)) {
      error = ENOMEDIUM;
      why = " (there is no tape in the drive)";
    } else if (error == EACCES || error == EROFS || (what == "write" && GMT_WR_PROT(about.mt_gstat))) {
      error = EROFS;
      why = " (the tape is write-protected)";
    } else if (error == ENOSPC) {
      why = " (the end of the tape)";
    }
    if ((about.mt_gstat & kCleaning) != 0) why += " (the drive asks to be cleaned)";
  }
  fail(error, name() + ": " + what + why);
}

void TapeDrive::operate(short operation, std::uint64_t count, const char* what) {
  mtop order{};
  order.mt_op = operation;
  order.mt_count = static_cast<int>(static_cast<std::uint32_t>(count));
  at_.reset();
  int result;
  do result = ::ioctl(drive_.get(), MTIOCTOP, &order);
  while (result != 0 && errno == EINTR);
  if (result != 0) refuse(errno, what + (" " + std::to_string(count)));
}

std::uint64_t TapeDrive::position() {
  mtpos where{};
  if (::ioctl(drive_.get(), MTIOCPOS, &where) != 0) refuse(errno, "MTIOCPOS");
  return static_cast<std::uint64_t>(where.mt_blkno);
}

// An empty read is a filemark, or the end of what was written: only a filemark can be gone past.
Tape::Got TapeDrive::read(Bytes into) {
  const auto before = at_ ? *at_ : position();
  at_.reset();
  ssize_t got;
  do got = ::read(drive_.get(), into.data(), into.size());
  while (got < 0 && errno == EINTR);
  const int error = errno;
  const auto length = static_cast<std::size_t>(got);
  if (got > 0) at_ = before + (block_ == 0 ? 1 : length / block_);
  if (got > 0) return {Met::record, length};
  if (got == 0) at_ = position();
  if (got == 0) return {*at_ > before ? Met::filemark : Met::end, 0};
  mtget about{};
  if (error == EIO && ::ioctl(drive_.get(), MTIOCGET, &about) == 0 && GMT_EOD(about.mt_gstat)) return {};
  refuse(error, "read at " + std::to_string(before));
}

void TapeDrive::write(ConstBytes bytes) {
  at_.reset();
  ssize_t written;
  do written = ::write(drive_.get(), bytes.data(), bytes.size());
  while (written < 0 && errno == EINTR);
  if (written < 0) refuse(errno, "write");
  if (static_cast<std::size_t>(written) != bytes.size()) refuse(ENOSPC, "write");
}

void TapeDrive::write_filemark() { operate(MTWEOF, 1, "MTWEOF"); }

void TapeDrive::seek(std::uint64_t position) {
  if (position > furthest())
    fail(EOVERFLOW, name() + ": MTSEEK to " + std::to_string(position));
  operate(MTSEEK, position, "MTSEEK");
  at_ = position;
}

std::uint64_t TapeDrive::seek_end() {
  operate(MTEOM, 1, "MTEOM");
  at_ = position();
  return *at_;
}

void TapeDrive::set_block(std::uint32_t size) {
  if (size == block_) return;
  operate(MTSETBLK, size, "MTSETBLK");
  block_ = size;
}

}  // namespace r3
