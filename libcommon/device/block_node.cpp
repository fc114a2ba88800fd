// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/block_node.hpp"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "libcommon/base/apart.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/mounts.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

constexpr std::string_view kDev = "/dev/";
constexpr std::chrono::milliseconds kLookEvery{50};

bool exists(const std::string& path) {
  std::error_code none;
  return std::filesystem::exists(path, none);
}

std::string sysfs_of(const std::string& node) { return "/sys/block/" + node.substr(kDev.size()); }

// Volumes and arrays that are made of it.
std::vector<std::string> stacked_on(const std::string& node) {
  std::vector<std::string> devices;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(sysfs_of(node) + "/holders", none))
    devices.push_back(entry.path().filename());
  return devices;
}

bool is_swap(const std::string& node) {
  std::ifstream swaps("/proc/swaps");
  for (std::string line; std::getline(swaps, line);)
    if (line.starts_with(node + " ")) return true;
  return false;
}

// Devices that one of our drivers makes.
bool is_ours(const std::string& node) {
  return node.starts_with("/dev/loop") || node.starts_with("/dev/nbd") || node.starts_with("/dev/ublkb");
}

}  // namespace

void check_block_device_size(std::uint64_t size) {
  if (size % kSectorSize != 0 || size == 0)
    throw std::invalid_argument("--driver: the region has " + std::to_string(size) +
                                " bytes; a block device has a multiple of 512, and not 0");
}

bool is_attached(const std::string& node) {
  if (node.starts_with("/dev/loop")) return exists(sysfs_of(node) + "/loop");
  if (node.starts_with("/dev/nbd")) return exists(sysfs_of(node) + "/pid");
  return exists(node);
}

bool is_in_use(const std::string& node) {
  // An exclusive open of a block device is refused while somebody has claimed it.
  const int error = run_apart(
      [&node] { return ::open(node.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC) < 0 ? errno : 0; });
  return error == EBUSY || !holders_of(node).empty();
}

std::vector<std::string> users_of(const std::string& node) {
  std::vector<std::string> users = names_of(holders_of(node));
  for (const std::string& device : stacked_on(node)) users.push_back("the device " + device);
  if (is_swap(node)) users.push_back("swap");
  struct stat status{};
  if (::stat(node.c_str(), &status) != 0) return users;
  for (const Mount& mount : read_mounts())
    if (mount.major == major(status.st_rdev) && mount.minor == minor(status.st_rdev))
      users.push_back("the mount " + mount.path);
  return users;
}

DeviceLink::DeviceLink(const std::string& path, const std::string& node) : path_(path), node_(node) {
  if (path_.empty()) return;
  const std::string before = read();
  if (is_ours(before)) {
    if (before != node_ && is_attached(before))
      fail(EBUSY, path_ + ": leads to " + before + ", which is in use");
    ::unlink(path_.c_str());
  }
  check(::symlink(node_.c_str(), path_.c_str()), path_);
}

DeviceLink::~DeviceLink() {
  if (!path_.empty() && read() == node_) ::unlink(path_.c_str());
}

std::string DeviceLink::read() const {
  std::error_code none;
  return std::filesystem::read_symlink(path_, none).string();
}

BlockNode::BlockNode(std::string path, const DeviceOptions& options) : path_(std::move(path)) {
  check(::stat(path_.c_str(), &before_), path_);
  const uid_t owner = options.owner.value_or(::geteuid());
  check(::chown(path_.c_str(), owner, options.group.value_or(::getegid())), path_);
  check(::chmod(path_.c_str(), options.mode & 07777u), path_);
}

bool BlockNode::wait_until_unused(std::chrono::milliseconds patience,
                                  const std::function<void()>& tick) const {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  const Stop pause;
  for (bool said = false; is_in_use(path_); said = true) {
    if (!said) log_warning(path_ + " is in use" + by(users_of(path_)) + ": waiting for it");
    if (std::chrono::steady_clock::now() >= deadline) return false;
    pause.wait_for(kLookEvery);
    tick();
  }
  return true;
}

void BlockNode::give_back() noexcept {
  if (given_back_) return;
  given_back_ = true;
  struct stat now{};
  if (::stat(path_.c_str(), &now) != 0 || now.st_rdev != before_.st_rdev) return;
  if (::chmod(path_.c_str(), before_.st_mode & 07777u) != 0 ||
      ::chown(path_.c_str(), before_.st_uid, before_.st_gid) != 0)
    log_debug(path_ + ": mode and owner stay changed");
}

void end_block_device(BlockNode& node, Backend& backend, const DeviceOptions& options,
                      const std::function<DeviceCounters()>& counters,
                      const std::function<void()>& take_away) {
  std::atomic<std::uint64_t> waits{0};
  int error = 0;
  bool unused = false;
  {
    const Watchdog watchdog(options.grace, [&] { return counters().progress + waits; },
                            [&] { give_up(backend, options.grace); });
    error = sync_own_device(node.path());
    // To wait for users is no standstill, unless they themselves wait for the backend.
    unused = node.wait_until_unused(options.grace, [&] {
      if (counters().waiting == 0) ++waits;
    });
    if (!unused) sync_own_device(node.path());
    node.give_back();
    take_away();
    try {
      backend.flush();
    } catch (...) {
      if (error == 0) error = errno_of_current_exception();
    }
  }
  if (error != 0) fail(error, node.path() + ": what was written last may be lost");
  if (!unused) fail(EBUSY, node.path() + ": taken away from those who used it");
}

DeviceCounters counters_of(const Counted& backend) {
  const Counted::Numbers now = backend.numbers();
  return {now.reads, now.read_bytes, now.writes, now.written_bytes, now.waiting, now.lost_bytes, now.ended};
}

void tune_queue(const std::string& node, const char* setting, std::uint64_t value) noexcept {
  try {
    std::ofstream file(sysfs_of(node) + "/queue/" + setting);
    file << value << std::flush;
  } catch (...) {
    log_debug(node + ": " + text_of_current_exception());
  }
}

}  // namespace r3
