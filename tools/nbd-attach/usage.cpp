// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/usage.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "libcommon/base/error.hpp"
#include "libcommon/device/mounts.hpp"

namespace r3 {

namespace {

namespace fs = std::filesystem;

// The device itself and its partitions, as directories of sysfs.
std::vector<fs::path> parts_of(const NbdDevice& device) {
  const std::string name = "nbd" + std::to_string(device.index);
  std::vector<fs::path> parts = {"/sys/block/" + name};
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(parts[0], none))
    if (entry.path().filename().string().starts_with(name + "p")) parts.push_back(entry.path());
  return parts;
}

void add_holders(const fs::path& part, std::vector<std::string>& uses) {
  std::error_code none;
  for (const auto& holder : fs::directory_iterator(part / "holders", none))
    uses.push_back("held by " + holder.path().filename().string());
}

void add_mounts(const std::set<std::string>& numbers, std::vector<std::string>& uses) {
  for (const Mount& mount : read_mounts())
    if (numbers.contains(std::to_string(mount.major) + ":" + std::to_string(mount.minor)))
      uses.push_back("mounted at " + mount.path);
}

void add_swaps(const std::set<std::string>& paths, std::vector<std::string>& uses) {
  std::istringstream lines(read_small_file("/proc/swaps"));
  for (std::string line; std::getline(lines, line);)
    if (paths.contains(line.substr(0, line.find_first_of(" \t")))) uses.push_back("swap");
}

}  // namespace

std::vector<std::string> uses_of(const NbdDevice& device) {
  std::vector<std::string> uses;
  std::set<std::string> numbers, paths;
  for (const fs::path& part : parts_of(device)) {
    std::string number = read_small_file(part / "dev");
    numbers.insert(number.substr(0, number.find('\n')));
    paths.insert("/dev/" + part.filename().string());
    add_holders(part, uses);
  }
  add_mounts(numbers, uses);
  add_swaps(paths, uses);
  return uses;
}

void flush_device(const std::string& path) {
  const Fd device = open_file(path, O_RDONLY);
  check(::fsync(device.get()), path);
  check(::ioctl(device.get(), BLKFLSBUF, 0), path);
}

void detach_device(unsigned index, bool force) {
  const NbdDevice device = read_nbd_device(index);
  if (device.pid == 0) fail(ENOTCONN, device.path() + ": nothing is attached");
  if (!force) {
    std::string all;
    for (const std::string& use : uses_of(device)) all += (all.empty() ? "" : ", ") + use;
    if (!all.empty()) fail(EBUSY, device.path() + ": " + all + "; --force takes it away all the same");
    flush_device(device.path());
  }
  NbdKernel().disconnect(index);
}

}  // namespace r3
