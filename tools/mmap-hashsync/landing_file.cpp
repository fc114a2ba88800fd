// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/landing_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/ranges.hpp"

namespace r3::sync {

LandingFile::LandingFile(const Directory& directory, std::string name, bool sparse)
    : directory_(directory), name_(std::move(name)), sparse_(sparse) {}

bool LandingFile::open_existing() {
  if (fd_.valid()) return true;
  fd_ = directory_.open(name_, O_RDWR);
  if (!fd_.valid()) return false;
  struct stat found;
  check(::fstat(fd_.get(), &found), path());
  regular_ = S_ISREG(found.st_mode);
  if (!regular_ && !S_ISBLK(found.st_mode)) {
    fd_.reset();
    fail(EINVAL, path() + " is neither a file nor a block device");
  }
  return true;
}

void LandingFile::create() {
  if (open_existing()) return;
  directory_.make_parents(name_);
  fd_ = directory_.open(name_, O_RDWR | O_CREAT | O_EXCL);
}

std::uint64_t LandingFile::size() const {
  return static_cast<std::uint64_t>(check(::lseek(fd_.get(), 0, SEEK_END), path()));
}

void LandingFile::write(std::uint64_t offset, ConstBytes bytes) {
  pwrite_full(fd_.get(), bytes, offset, path());
}

void LandingFile::zero(std::uint64_t offset, std::uint64_t length) {
  // What is behind the end is zero already, and set_size() comes later.
  const auto there = size();
  if (offset >= there) return;
  length = std::min(length, there - offset);
  if (zero_quickly(fd_.get(), offset, length, !sparse_, path())) return;
  static constexpr std::array<std::byte, 64 * KiB> kZeroes{};
  for (std::uint64_t done = 0; done < length; done += kZeroes.size())
    write(offset + done, ConstBytes(kZeroes).first(std::min<std::uint64_t>(kZeroes.size(), length - done)));
}

void LandingFile::set_size(std::uint64_t size) {
  const auto now = this->size();
  if (now == size) return;
  if (regular_) check(::ftruncate(fd_.get(), static_cast<off_t>(size)), path());
  else if (now < size) fail(ENOSPC, path() + " is smaller than the source");
}

void LandingFile::sync() {
  check(::fdatasync(fd_.get()), path());
  if (!std::exchange(entry_durable_, true)) directory_.sync_entry(name_);
}

HashTable hash_of(const Scan& scan, LandingFile& file, const Geometry& geometry) {
  HashTable table;
  table.resize(geometry);
  if (!file.open_existing()) return table;
  FileView view(duplicate(file.fd()), file.path());
  view.do_not_map();
  view.refresh();
  hash_file(scan, view, table);
  return table;
}

void write_chunks(LandingFile& file, const Geometry& geometry, const Arrival& chunks) {
  for_each_run(chunks.entries, geometry, [&](std::uint64_t offset, std::uint64_t length, std::size_t at) {
    if (chunks.bytes.empty()) file.zero(offset, length);
    else file.write(offset, chunks.bytes.subspan(at, length));
  });
}

}  // namespace r3::sync
