// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/ranges.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

// A step that surely goes forward where the file changed between two questions.
constexpr std::uint64_t kStep = 4096;

// fallocate; false if this file cannot do it.
bool allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length,
              const std::string& name) {
  for (;;) {
    const int result = ::fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                   static_cast<off_t>(length));
    if (result == 0) return true;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV) return false;
    if (errno != EINTR) fail(errno, name);
  }
}

std::uint64_t file_length(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

}  // namespace

bool zero_quickly(int fd, std::uint64_t offset, std::uint64_t length, bool keep_allocated,
                  const std::string& name) {
  return allocate(fd, keep_allocated ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE, offset, length,
                  name);
}

bool read_without_waiting(int fd, Bytes into, std::uint64_t offset) {
  const iovec part{into.data(), into.size()};
  const auto n = ::preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return n >= 0 && static_cast<std::size_t>(n) == into.size();
}

void append_file_extents(std::vector<Extent>& found, int fd, std::uint64_t offset,
                         std::uint64_t length, std::size_t most) {
  const auto end = offset + length;
  while (offset < end && found.size() <= most) {
    const auto data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno != ENXIO) break;
    // ENXIO: no data from here to the end of the file, wherever that is now.
    const auto hole_end = std::min(data < 0 ? file_length(fd) : static_cast<std::uint64_t>(data), end);
    if (hole_end > offset) {
      append_extent(found, {offset, hole_end - offset, true, true});
      offset = hole_end;
      continue;
    }
    const auto hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
    if (hole < 0) break;
    const auto data_end =
        std::min(std::max(static_cast<std::uint64_t>(hole), offset + kStep), end);
    append_extent(found, {offset, data_end - offset, false, false});
    offset = data_end;
  }
  if (offset < end) append_extent(found, {offset, end - offset, false, false});
}

}  // namespace r3
