// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/loop_directory.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "libcommon/base/apart.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/device/mount_point.hpp"
#include "libcommon/device/mounts.hpp"

namespace r3 {
namespace {

constexpr char kName[] = "loop-";
constexpr char kFile[] = "/region";

namespace fs = std::filesystem;

// Invalid if it is not there, not ours, or somebody holds it.
Fd lock_directory(const std::string& path) {
  Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory.valid() && ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0) directory.reset();
  return directory;
}

void unbind_all(const std::string& file) {
  std::error_code none;
  for (const auto& block : fs::directory_iterator("/sys/block", none)) {
    const std::string node = "/dev/" + block.path().filename().string();
    if (backing_of(node) == file) unbind_loop(node);
  }
}

void clean(const std::string& directory) {
  const Fd lock = lock_directory(directory);
  if (!lock.valid()) return;
  log_debug(directory + ": left by a process that was killed, taken away");
  unbind_all(directory + kFile);
  for (const Mount& mount : read_mounts())
    if (mount.path == directory + kFile && mount.type == kFuseType) unmount_by_force(mount.path);
  ::unlink((directory + kFile).c_str());
  ::rmdir(directory.c_str());
}

void clean_all() {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(runtime_directory(), none))
    if (entry.path().filename().string().starts_with(kName)) clean(entry.path());
}

}  // namespace

std::string backing_of(const std::string& node) {
  std::ifstream backing("/sys/block/" + fs::path(node).filename().string() + "/loop/backing_file");
  std::string line;
  std::getline(backing, line);
  return line;
}

void unbind_loop(const std::string& node) noexcept {
  run_apart([&node] {
    const int device = ::open(node.c_str(), O_RDONLY | O_CLOEXEC);
    return device < 0 || ::ioctl(device, LOOP_CLR_FD) != 0 ? errno : 0;
  });
}

LoopDirectory::LoopDirectory() {
  clean_all();
  while (!make()) continue;
}

// False if another process took it for a dead one's before it was locked.
bool LoopDirectory::make() {
  path_ = fs::canonical(runtime_directory()).string() + '/' + kName + "XXXXXX";
  if (!::mkdtemp(path_.data())) fail(errno, path_);
  lock_ = lock_directory(path_);
  struct stat status{};
  return lock_.valid() && ::fstat(lock_.get(), &status) == 0 && status.st_nlink > 0;
}

LoopDirectory::~LoopDirectory() { ::rmdir(path_.c_str()); }

std::string LoopDirectory::file() const { return path_ + kFile; }

}  // namespace r3
