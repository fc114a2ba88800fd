// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/direct_file.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr unsigned kBuffers = 16;

Fd open_either_way(const std::string& path, bool create, bool& direct) {
  const int flags = O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0);
  Fd file(::open(path.c_str(), flags | O_DIRECT, 0600));
  direct = file.valid();
  if (!direct && errno == EINVAL) file.reset(::open(path.c_str(), flags, 0600));
  check(file.get(), path);
  return file;
}

}  // namespace

class DirectFile::Loan {
 public:
  explicit Loan(DirectFile& from) : from_(from) {
    std::unique_lock lock(from_.mutex_);
    from_.returned_.wait(lock, [this] { return !from_.free_.empty(); });
    bytes_ = from_.free_.back();
    from_.free_.pop_back();
  }
  ~Loan() {
    std::lock_guard lock(from_.mutex_);
    from_.free_.push_back(bytes_);
    from_.returned_.notify_one();
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  Bytes first(std::uint64_t length) const { return bytes_.first(length); }

 private:
  DirectFile& from_;
  Bytes bytes_;
};

DirectFile::DirectFile(const std::string& path, std::optional<std::uint64_t> size)
    : path_(path), file_(open_either_way(path, size.has_value(), direct_)), buffers_(Mapping::anonymous(kBuffers * kBuffer)) {
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0)
    fail(errno == EWOULDBLOCK ? EBUSY : errno, path_ + ": another process has it");
  allocate(size);
  for (unsigned i = 0; i < kBuffers; ++i) free_.push_back(buffers_.bytes().subspan(i * kBuffer, kBuffer));
}

void DirectFile::allocate(std::optional<std::uint64_t> size) {
  struct stat status {};
  check(::fstat(file_.get(), &status), path_);
  if (S_ISREG(status.st_mode)) {
    const auto now = static_cast<std::uint64_t>(status.st_size);
    const auto whole = round_up(std::max(now, size.value_or(0)), kAlign);
    const int error = whole == 0 ? 0 : ::posix_fallocate(file_.get(), 0, static_cast<off_t>(whole));
    if (error != 0) fail(error, path_);
    size_ = size.value_or(now);
  } else if (S_ISBLK(status.st_mode)) {
    check(::ioctl(file_.get(), BLKGETSIZE64, &size_), path_);
    const std::uint64_t wanted = size.value_or(size_);
    if (size_ < wanted)
      fail(EINVAL, path_ + ": has " + std::to_string(size_) + " bytes, not " + std::to_string(wanted));
    size_ = wanted;
  } else {
    fail(EINVAL, path_ + ": neither a file nor a block device");
  }
}

bool DirectFile::aligned(const std::byte* at, std::uint64_t offset, std::uint64_t length) const {
  return !direct_ || (reinterpret_cast<std::uintptr_t>(at) | offset | length) % kAlign == 0;
}

void DirectFile::fetch(Bytes buffer, std::uint64_t offset) {
  if (pread_full(file_.get(), buffer, offset, path_) < buffer.size()) fail(EIO, path_ + ": shorter than it was");
}

void DirectFile::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size_, offset, into.size());
  if (aligned(into.data(), offset, into.size())) return fetch(into, offset);
  const Loan loan(*this);
  while (!into.empty()) {
    const auto begin = round_down(offset, kAlign);
    const auto end = std::min(round_up(offset + into.size(), kAlign), begin + kBuffer);
    const Bytes buffer = loan.first(end - begin);
    fetch(buffer, begin);
    const auto part = std::min<std::uint64_t>(into.size(), end - offset);
    std::memcpy(into.data(), buffer.data() + (offset - begin), part);
    into = into.subspan(part);
    offset += part;
  }
}

void DirectFile::write_at(ConstBytes from, std::uint64_t offset) {
  check_write_range(size_, offset, from.size());
  if (aligned(from.data(), offset, from.size())) {
    const std::shared_lock together(whole_);
    return pwrite_full(file_.get(), from, offset, path_);
  }
  const Loan loan(*this);
  while (!from.empty()) {
    const auto begin = round_down(offset, kAlign);
    const auto end = std::min(round_up(offset + from.size(), kAlign), begin + kBuffer);
    const auto part = std::min<std::uint64_t>(from.size(), end - offset);
    const Bytes buffer = loan.first(end - begin);
    std::shared_lock together(whole_, std::defer_lock);
    std::unique_lock alone(whole_, std::defer_lock);
    if (part < buffer.size()) {
      alone.lock();
      fetch(buffer, begin);
    } else {
      together.lock();
    }
    std::memcpy(buffer.data() + (offset - begin), from.data(), part);
    pwrite_full(file_.get(), buffer, begin, path_);
    from = from.subspan(part);
    offset += part;
  }
}

void DirectFile::flush() { check(::fdatasync(file_.get()), path_); }

}  // namespace r3
