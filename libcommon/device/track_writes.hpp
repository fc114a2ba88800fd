// SPDX-License-Identifier: Apache-2.0
// For programs that want their writes to a shared mapping found at once (mmap-hashsync --detect pagemap): one
// call after mmap(2), no library to link, no thread, no handler. The kernel keeps account of the pages that are
// written through this mapping (userfaultfd(2), asynchronous write protection, Linux 6.7; tmpfs and memfd);
// who may read /proc/PID/pagemap can ask for them. Each first write to a page costs about a microsecond more.
#pragma once

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace r3 {

// Returns a descriptor, which has to stay open as long as writes are to be tracked, or -1 with errno (EINVAL:
// the kernel or the file system cannot). `address` and `length` are whole pages of one mapping.
inline int track_writes(void* address, std::size_t length) {
  constexpr std::uint64_t kHugeAndShared = 1ULL << 12, kUnpopulated = 1ULL << 13, kAsync = 1ULL << 15;
  constexpr int kUserModeOnly = 1;
  const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly));
  if (fd < 0) return -1;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kHugeAndShared | kUnpopulated | kAsync;
  uffdio_register range{};
  range.range = {reinterpret_cast<std::uintptr_t>(address), length};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  uffdio_writeprotect protect{};
  protect.range = range.range;
  protect.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  if (::ioctl(fd, UFFDIO_API, &api) == 0 && ::ioctl(fd, UFFDIO_REGISTER, &range) == 0 &&
      ::ioctl(fd, UFFDIO_WRITEPROTECT, &protect) == 0)
    return fd;
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

}  // namespace r3
