// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/writer_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/storage/cached_format.hpp"

namespace r3 {
namespace {

std::string name_of(const Region& region) {
  char real[PATH_MAX];
  if (region.scheme == "file" && ::realpath(region.rest.c_str(), real)) return std::string("file:") + real;
  return to_text(region);
}

// A place for all users where there is one: two of them may use the same region.
std::string place() {
  if (::access("/run/lock", W_OK) == 0) return "/run/lock";
  return ::access("/var/lock", W_OK) == 0 ? "/var/lock" : "/tmp";
}

std::string path_for(const std::string& name) {
  constexpr char digits[] = "0123456789abcdef";
  std::string path = place() + "/r3-mount-";
  for (const std::byte byte : name_hash(name))
    path += {digits[std::to_integer<unsigned>(byte) >> 4], digits[std::to_integer<unsigned>(byte) & 15]};
  return path;
}

}  // namespace

WriterLock::WriterLock(const Region& region) {
  if (region.scheme == "memory" || region.scheme == "pattern" || region.scheme == "zero" ||
      region.scheme == "dir")  // it has a lock of its own
    return;
  const std::string path = path_for(name_of(region));
  file_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666));
  struct flock whole {};
  whole.l_type = F_WRLCK;
  if (file_.valid() && ::fcntl(file_.get(), F_OFD_SETLK, &whole) == 0) return;
  if (file_.valid() && (errno == EAGAIN || errno == EACCES))
    fail(EBUSY, to_text(region) + ": another r3-mount on this machine writes to it (-r only reads)");
  log_warning(path + ": cannot be locked: nothing keeps a second writer on this machine out");
}

}  // namespace r3
