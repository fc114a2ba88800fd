// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/power_disk.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>

namespace r3::test {

Disk* disk = nullptr;

}  // namespace r3::test

using r3::Fd;
using r3::test::disk;

namespace {

// Passes a call on, unless the process is as good as killed.
template <class... Arguments>
long pass(bool counts, long number, Arguments... arguments) {
  if (!counts || disk->allow()) return ::syscall(number, arguments...);
  errno = EIO;
  return -1;
}

}  // namespace

// The system's names for what the region calls, with 64-bit offsets.
extern "C" {
int r3_openat(int, const char*, int, ...) __asm__("openat64");
ssize_t r3_pwrite(int, const void*, size_t, off_t) __asm__("pwrite64");
int r3_ftruncate(int, off_t) __asm__("ftruncate64");
int r3_fallocate(int, int, off_t, off_t) __asm__("fallocate64");
ssize_t r3_copy_range(int, off_t*, int, off_t*, size_t, unsigned) __asm__("copy_file_range");

int r3_openat(int folder, const char* leaf, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  const bool makes = disk && (flags & O_CREAT) && disk->knows(folder) &&
                     ::syscall(SYS_faccessat, folder, leaf, F_OK) != 0;
  const long fd = pass(makes, SYS_openat, folder, leaf, flags, mode);
  if (fd >= 0 && makes) disk->named(folder, leaf);
  return static_cast<int>(fd);
}

ssize_t r3_pwrite(int fd, const void* data, size_t length, off_t offset) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_pwrite64, fd, data, length, offset);
  if (ours && done > 0)
    disk->written(fd, {static_cast<const std::byte*>(data), static_cast<std::size_t>(done)},
                  static_cast<std::uint64_t>(offset));
  return done;
}

ssize_t write(int fd, const void* data, size_t length) {
  const bool ours = disk && disk->knows(fd);
  const auto at = ours ? ::syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
  const long done = pass(ours, SYS_write, fd, data, length);
  if (ours && done > 0)
    disk->written(fd, {static_cast<const std::byte*>(data), static_cast<std::size_t>(done)},
                  static_cast<std::uint64_t>(at));
  return done;
}

int r3_ftruncate(int fd, off_t length) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_ftruncate, fd, length);
  if (ours && done == 0) disk->resized(fd, static_cast<std::uint64_t>(length));
  return static_cast<int>(done);
}

// Holes are zeroes that are written, as far as a power cut is concerned.
int r3_fallocate(int fd, int mode, off_t offset, off_t length) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_fallocate, fd, mode, offset, length);
  if (ours && done == 0)
    disk->written(fd, std::vector<std::byte>(static_cast<std::size_t>(length)),
                  static_cast<std::uint64_t>(offset));
  return static_cast<int>(done);
}

ssize_t r3_copy_range(int from, off_t* in, int to, off_t* out, size_t length, unsigned flags) {
  const bool ours = disk && disk->knows(to);
  const auto begin = out ? *out : 0;
  const long done = pass(ours, SYS_copy_file_range, from, in, to, out, length, flags);
  if (!ours || done <= 0) return done;
  std::vector<std::byte> copied(static_cast<std::size_t>(done));
  r3::pread_full(to, copied, static_cast<std::uint64_t>(begin), "copied");
  disk->written(to, copied, static_cast<std::uint64_t>(begin));
  return done;
}

int mkdir(const char* path, mode_t mode) noexcept {
  const Fd folder(::open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY));
  const bool ours = disk && folder.valid() && disk->knows(folder.get());
  const long done = pass(ours, SYS_mkdir, path, mode);
  if (ours && done == 0) {
    disk->named(folder.get(), std::filesystem::path(path).filename());
    disk->last_is_folder();
  }
  return static_cast<int>(done);
}

int mkdirat(int folder, const char* leaf, mode_t mode) noexcept {
  const bool ours = disk && disk->knows(folder);
  const long done = pass(ours, SYS_mkdirat, folder, leaf, mode);
  if (ours && done == 0) {
    disk->named(folder, leaf);
    disk->last_is_folder();
  }
  return static_cast<int>(done);
}

int unlinkat(int folder, const char* leaf, int flags) noexcept {
  const bool ours = disk && disk->knows(folder);
  if (ours && disk->calls_left > 0) disk->forget(folder, leaf);
  const long done = pass(ours, SYS_unlinkat, folder, leaf, flags);
  if (ours && done == 0) disk->removed(folder, leaf);
  return static_cast<int>(done);
}

int renameat(int folder, const char* from, int to_folder, const char* to) noexcept {
  const bool ours = disk && disk->knows(folder);
  if (ours && disk->calls_left > 0) disk->forget(to_folder, to);
  const long done = pass(ours, SYS_renameat, folder, from, to_folder, to);
  if (ours && done == 0) disk->renamed(folder, from, to);
  return static_cast<int>(done);
}

int fsync(int fd) {
  const bool ours = disk && disk->knows(fd);
  const long done = ours ? (disk->allow() ? 0 : -1) : ::syscall(SYS_fsync, fd);
  if (ours && done == 0) disk->synced(fd);
  if (ours && done != 0) errno = EIO;
  return static_cast<int>(done);
}

int fdatasync(int fd) { return ::fsync(fd); }

int syncfs(int fd) noexcept {
  const bool ours = disk && disk->knows(fd);
  if (!ours) return static_cast<int>(::syscall(SYS_syncfs, fd));
  if (disk->allow()) return disk->synced_all(), 0;
  errno = EIO;
  return -1;
}
}  // extern "C"
