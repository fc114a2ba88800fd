// SPDX-License-Identifier: Apache-2.0
// What is mounted where, who uses it, and taking a mount away. Reads /proc only: but for
// unmounting, it never touches the mounted file systems, so it cannot hang on a dead one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace r3 {

struct Mount {
  unsigned id = 0;     // stays the same when a directory above it is renamed
  unsigned major = 0;  // of the device: st_dev of what is in it, or the block device's own number
  unsigned minor = 0;
  std::string path;
  std::string type;    // "ext4", "fuse.r3"
  std::string source;  // "/dev/loop0"
  unsigned user = 0;   // user_id= and group_id= of a FUSE file system: whose it is
  unsigned group = 0;
};

// The format of /proc/self/mountinfo (Documentation/filesystems/proc.rst, 3.5). Lines that make no
// sense are left out.
std::vector<Mount> parse_mounts(std::string_view mountinfo);
std::vector<Mount> read_mounts();
// None if it is not in the tree any more.
std::optional<Mount> find_mount(unsigned id);

// Whether the server of a FUSE mount has gone. Asks the mount: waits for a server that does not answer.
bool is_dead(const Mount& mount);

struct Holder {
  std::string name;  // "sqlite3 (1234)"
  std::string file;  // opens what it holds: "/proc/1234/fd/5"
};
// The processes that have `path` open or mapped; those that this process may see.
std::vector<Holder> holders_of(const std::string& path);
// The same for the only file of a mount, even of one that is not in the tree any more.
std::vector<Holder> holders_of(const Mount& mount);
std::vector<std::string> names_of(const std::vector<Holder>& holders);
// " by A, B", or nothing for none: the end of a message.
std::string by(const std::vector<std::string>& names);

// Unmounts, as root by itself, else with fusermount3. Returns 0, EBUSY while somebody uses it,
// EINVAL if nothing is mounted there, or another errno: ENOENT if there is no fusermount3.
int unmount(const std::string& path);
// Takes the mount out of the tree and, where allowed, ends what still goes on in it.
void unmount_by_force(const std::string& path) noexcept;

}  // namespace r3
