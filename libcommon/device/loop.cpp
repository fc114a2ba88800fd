// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/loop.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "libcommon/base/apart.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/fuse.hpp"
#include "libcommon/device/loop_directory.hpp"
#include "libcommon/device/mounts.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

bool is_bound(const std::string& node) {
  std::error_code error;
  return std::filesystem::exists("/sys/block/" + node.substr(5) + "/loop", error);
}

// A symbolic link to the device, where the user wants to find it.
class Link {
 public:
  // Replaces a link to a device that is not in use: it was left by a process that was killed.
  Link(const std::string& path, const std::string& target) : path_(path), target_(target) {
    if (path_.empty()) return;
    const std::string before = read();
    if (before.starts_with("/dev/loop")) {
      if (before != target_ && is_bound(before))
        fail(EBUSY, path_ + ": leads to " + before + ", which is in use");
      ::unlink(path_.c_str());
    }
    check(::symlink(target_.c_str(), path_.c_str()), path_);
  }
  ~Link() {
    if (!path_.empty() && read() == target_) ::unlink(path_.c_str());
  }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

 private:
  std::string read() const {
    std::error_code none;
    return std::filesystem::read_symlink(path_, none).string();
  }

  std::string path_;
  std::string target_;
};

// One bound /dev/loopN. This process never has it open itself: the last one to close a device waits
// until what was written to it has reached the file below, which this process serves.
class Loop {
 public:
  Loop(const std::string& file, const DeviceOptions& options, std::uint32_t block_size) {
    loop_config config{};
    config.block_size = block_size;
    config.info.lo_flags = LO_FLAGS_DIRECT_IO;
    if (options.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
    file.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
    std::string failed;  // what an error is about
    const int flags = options.read_only ? O_RDONLY : O_RDWR;
    const int error = run_apart([&] { return bind(file, flags, config, failed); });
    if (error != 0) fail(error, failed);
    try {
      take_node(options);
    } catch (...) {
      unbind_loop(node_);
      throw;
    }
  }

  ~Loop() { release(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  const std::string& node() const { return node_; }

  // File systems and swap on it, and processes that have it open.
  std::vector<std::string> users() const {
    std::vector<std::string> users = holders_of(node_);
    for (const Mount& mount : read_mounts())
      if (mount.major == major(status_.st_rdev) && mount.minor == minor(status_.st_rdev))
        users.push_back("the mount " + mount.path);
    return users;
  }

  // Somebody has claimed it: an exclusive open of a block device is refused while it is mounted or
  // swap.
  bool claimed() const {
    return run_apart([this] {
             return ::open(node_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC) < 0 ? errno : 0;
           }) != 0;
  }

  // Unbinds it: at once if nobody has it open, else when the last one closes it.
  void release() noexcept {
    if (released_) return;
    released_ = true;
    // Nodes outlive what is bound to them.
    if (::chmod(node_.c_str(), status_.st_mode & 07777u) != 0 ||
        ::chown(node_.c_str(), status_.st_uid, status_.st_gid) != 0)
      log_debug(node_ + ": mode and owner stay changed");
    unbind_loop(node_);
  }

  bool gone() const { return !is_bound(node_); }

 private:
  int bind(const std::string& file, int flags, loop_config& config, std::string& failed) {
    failed = file;
    const int backing = ::open(file.c_str(), flags | O_CLOEXEC);
    if (backing < 0) return errno;
    config.fd = static_cast<__u32>(backing);
    failed = "/dev/loop-control";
    const int control = ::open(failed.c_str(), O_RDWR | O_CLOEXEC);
    if (control < 0) return errno;
    for (;;) {
      const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
      if (number < 0) return errno;
      failed = node_ = "/dev/loop" + std::to_string(number);
      const int device = ::open(node_.c_str(), flags | O_CLOEXEC);
      if (device < 0) return errno;
      if (::ioctl(device, LOOP_CONFIGURE, &config) == 0) return 0;
      if (errno != EBUSY) return errno;
      ::close(device);  // another one was faster
    }
  }

  void take_node(const DeviceOptions& options) {
    check(::stat(node_.c_str(), &status_), node_);
    const uid_t owner = options.owner.value_or(::geteuid());
    check(::chown(node_.c_str(), owner, options.group.value_or(::getegid())), node_);
    check(::chmod(node_.c_str(), options.mode & 07777u), node_);
  }

  std::string node_;
  struct stat status_{};  // of the node, as it was
  bool released_ = false;
};

class LoopDevice : public Device {
 public:
  LoopDevice(Backend& backend, const DeviceOptions& options)
      : backend_(backend), options_(options), file_(attach_fuse(backend, below(options))),
        loop_(file_->path(), options, sector_size(backend)),
        link_(options.path, loop_.node()) {}

  ~LoopDevice() override {
    if (!detached_) backend_.abandon();
  }

  const std::string& path() const override {
    return options_.path.empty() ? loop_.node() : options_.path;
  }
  DeviceCounters counters() const override { return file_->counters(); }

  void flush() override {
    if (const int error = sync_own_device(loop_.node()); error != 0) fail(error, loop_.node());
    file_->flush();
  }

  void detach() override {
    int error = 0;
    bool unused = false;
    {
      const Watchdog watchdog(options_.grace, [this] { return counters().progress + waits_; },
                              [this] { give_up(backend_, options_.grace); });
      error = sync_own_device(loop_.node());
      unused = wait_until_unused();
      if (!unused) sync_own_device(loop_.node());
      loop_.release();
      wait_until_gone();
    }
    file_->detach();
    detached_ = true;
    if (error != 0) fail(error, loop_.node() + ": what was written last may be lost");
    if (!unused) fail(EBUSY, loop_.node() + ": taken away from those who used it");
  }

 private:
  // The file that the loop driver uses belongs to the kernel alone.
  DeviceOptions below(DeviceOptions options) {
    options.path = directory_.file();
    options.mode = 0600;
    options.owner.reset();
    options.group.reset();
    return options;
  }

  // What partition tables and file systems in an image count in, whoever made it.
  static std::uint32_t sector_size(const Backend& backend) {
    constexpr std::uint32_t kSector = 512;
    if (backend.size() % kSector != 0 || backend.size() == 0)
      fail(EINVAL, "a block device of " + std::to_string(backend.size()) +
                       " bytes, which is not a multiple of 512");
    return kSector;
  }

  bool wait_until_unused() {
    const auto deadline = std::chrono::steady_clock::now() + options_.grace;
    if (loop_.claimed())
      log_warning(loop_.node() + " is in use" + by(loop_.users()) + ": waiting for it");
    while (loop_.claimed()) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      pause_.wait_for(std::chrono::milliseconds(50));
      ++waits_;
    }
    return true;
  }

  void wait_until_gone() {
    const auto deadline = std::chrono::steady_clock::now() + options_.grace;
    while (!loop_.gone() && std::chrono::steady_clock::now() < deadline)
      pause_.wait_for(std::chrono::milliseconds(10));
  }

  Backend& backend_;
  const DeviceOptions options_;
  std::atomic<std::uint64_t> waits_{0};
  bool detached_ = false;
  LoopDirectory directory_;
  std::unique_ptr<Device> file_;
  Loop loop_;
  Link link_;
  Stop pause_;
};

}  // namespace

std::unique_ptr<Device> attach_loop(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<LoopDevice>(backend, options);
}

}  // namespace r3
