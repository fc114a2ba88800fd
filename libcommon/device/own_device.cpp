// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/own_device.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "libcommon/base/apart.hpp"

namespace r3 {

int sync_own_device(const std::string& path) noexcept {
  return run_apart([&path] {
    int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    return file >= 0 && ::fsync(file) != 0 ? errno : 0;
  });
}

int read_own_device(const std::string& path, Bytes into, std::uint64_t offset) noexcept {
  return run_apart([&] {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno;
    const ssize_t length = ::pread(file, into.data(), into.size(), static_cast<off_t>(offset));
    if (length < 0) return errno;
    return static_cast<std::size_t>(length) == into.size() ? 0 : EIO;
  });
}

}  // namespace r3
