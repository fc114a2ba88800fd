// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/mount_point.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/device/mounts.hpp"

namespace r3 {

std::string resolve_directory(const std::string& path) {
  namespace fs = std::filesystem;
  const fs::path given(path);
  if (!given.has_filename()) fail(EISDIR, path);
  std::error_code missing;
  const fs::path directory = fs::canonical(fs::absolute(given).parent_path(), missing);
  if (missing) fail(missing.value(), path);
  return directory / given.filename();
}

namespace {

std::string make_file() {
  std::string path = runtime_directory() + "/r3-XXXXXX";
  Fd(check(::mkostemp(path.data(), O_CLOEXEC), path));
  return path;
}

// A dead mount of ours is removed: nobody can lose anything by it. Any other is refused.
void make_unmounted(const std::string& path) {
  for (const Mount& mount : read_mounts()) {
    if (mount.path != path) continue;
    if (mount.type != kFuseType || !is_dead(mount))
      fail(EBUSY, path + ": a " + mount.type + " file system is mounted there");
    unmount_by_force(path);
  }
}

}  // namespace

std::string runtime_directory() {
  if (::geteuid() == 0) ::mkdir("/run/r3tools", 0755);
  const char* own = std::getenv("XDG_RUNTIME_DIR");
  const char* temporary = std::getenv("TMPDIR");
  for (const char* directory : {own, "/run/r3tools", temporary, "/tmp"})
    if (directory && *directory == '/' && ::access(directory, W_OK | X_OK) == 0) return directory;
  fail(ENOENT, "no directory to make a mount point in (XDG_RUNTIME_DIR, TMPDIR, /tmp)");
}

MountPoint::MountPoint(const std::string& path, bool force) : made_(path.empty()) {
  path_ = made_ ? make_file() : resolve_directory(path);
  make_unmounted(path_);
  struct stat status{};
  if (::stat(path_.c_str(), &status) != 0) {
    if (errno != ENOENT) fail(errno, path_);
    Fd(check(::open(path_.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600), path_));
    made_ = true;
    return;
  }
  path_ = std::filesystem::canonical(path_);
  make_unmounted(path_);
  if (S_ISDIR(status.st_mode)) fail(EISDIR, path_);
  if (!S_ISREG(status.st_mode)) fail(EINVAL, path_ + ": not a plain file");
  if (status.st_size > 0 && !force) fail(EEXIST, path_ + ": not empty, a mount would hide it");
}

MountPoint::~MountPoint() {
  struct stat status{};
  const std::string& path = now_.empty() ? path_ : now_;
  if (!made_ || ::lstat(path.c_str(), &status) != 0) return;
  if (S_ISREG(status.st_mode) && status.st_size == 0) ::unlink(path.c_str());
}

}  // namespace r3
