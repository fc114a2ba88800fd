// SPDX-License-Identifier: Apache-2.0
// The plain file that a region is mounted on: made if there is none and removed again, refused if
// it holds something that the mount would hide, cleaned if a process that was killed left it dead.
#pragma once

#include <string>
#include <utility>

namespace r3 {

// The type by which our mounts are known in the mount table.
inline constexpr char kFuseType[] = "fuse.r3";

// A directory of this user's for what tools make at run time: $XDG_RUNTIME_DIR, /run/r3tools
// (root), $TMPDIR, /tmp: the first that can be written.
std::string runtime_directory();

// Absolute, with the symbolic links of the directories resolved; the last component may be missing, or a mount
// that answers nothing. Throws EISDIR if the path ends with a slash.
std::string resolve_directory(const std::string& path);

class MountPoint {
 public:
  // `path` empty: makes a file in runtime_directory(). Throws EBUSY if something is mounted there,
  // EEXIST for a file with something in it unless `force`, EISDIR for a directory.
  explicit MountPoint(const std::string& path, bool force);
  MountPoint(const MountPoint&) = delete;
  MountPoint& operator=(const MountPoint&) = delete;
  // Removes the file if it was made here and is still empty. Nothing may be mounted on it any more.
  ~MountPoint();

  // Absolute, without symbolic links.
  const std::string& path() const { return path_; }
  // A directory above it got another name: where the file is to be removed.
  void follow(std::string path) { now_ = std::move(path); }

 private:
  std::string path_;
  std::string now_;
  bool made_ = false;
};

}  // namespace r3
