// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/loop.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <optional>

#include "libcommon/base/apart.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/block_node.hpp"
#include "libcommon/device/fuse.hpp"
#include "libcommon/device/loop_directory.hpp"
#include "libcommon/device/mount_point.hpp"
#include "libcommon/device/mounts.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

using Clock = std::chrono::steady_clock;

// One bound /dev/loopN.
class Loop {
 public:
  Loop(const std::string& file, const DeviceOptions& options, std::uint32_t block_size) : file_(file) {
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
      shown_.emplace(node_, options);
    } catch (...) {
      unbind_loop(node_);
      throw;
    }
  }

  ~Loop() { release(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  const std::string& node() const { return node_; }
  const BlockNode& shown() const { return *shown_; }

  // False if somebody has detached it; the number may be another one's since.
  bool is_ours() const { return backing_of(node_) == file_; }

  // Unbinds it: at once if nobody has it open, else when the last one closes it.
  void release() noexcept {
    if (released_) return;
    released_ = true;
    if (is_attached(node_) && !is_ours()) return;
    shown_->give_back();
    if (is_ours()) unbind_loop(node_);
  }

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

  const std::string file_;
  std::string node_;
  std::optional<BlockNode> shown_;
  bool released_ = false;
};

class LoopDevice : public Device {
 public:
  LoopDevice(Backend& backend, const DeviceOptions& options)
      : backend_(backend), options_(options),
        path_(options.path.empty() ? "" : resolve_directory(options.path)),
        sector_size_(sector_size(backend)), file_(attach_fuse_file(backend, below(options))),
        loop_(file_->path(), options, sector_size_), link_(path_, loop_.node()) {
    if (path_.empty()) path_ = loop_.node();
  }

  ~LoopDevice() override {
    if (!detached_) backend_.abandon();
  }

  const std::string& path() const override { return path_; }
  const char* driver() const override { return "loop"; }
  DeviceCounters counters() const override { return file_->counters(); }

  void flush() override {
    if (const int error = sync_own_device(loop_.node()); error != 0) fail(error, loop_.node());
    file_->flush();
  }

  void detach() override {
    const auto then = Clock::now() + options_.grace;
    int error = 0;
    bool unused = true;
    {
      const Watchdog watchdog(options_.grace, [this] { return counters().progress + waits_; },
                              [this] { give_up(backend_, options_.grace); });
      if (loop_.is_ours()) error = sync_own_device(loop_.node());
      unused = !loop_.is_ours() ||
               loop_.shown().wait_until_unused(options_.grace, [this] { ++waits_; });
      if (!unused) sync_own_device(loop_.node());
      loop_.release();
      unused &= wait_until_gone(then);
    }
    try {
      file_->detach_by(then);
    } catch (const std::system_error&) {
      if (unused) throw;
    }
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
    options.on_unused = options.on_ended;  // somebody has detached the loop device
    return options;
  }

  static std::uint32_t sector_size(const Backend& backend) {
    check_block_device_size(backend.size());
    return kSectorSize;
  }

  // The last one who has it open keeps it bound.
  bool wait_until_gone(Clock::time_point then) {
    const auto patience = Clock::now() + std::chrono::milliseconds(500);
    for (bool said = false; loop_.is_ours(); ++waits_) {
      if (Clock::now() >= then) return false;
      if (!said && Clock::now() >= patience) {
        log_warning(loop_.node() + " is in use" + by(users_of(loop_.node())) + ": waiting for it");
        said = true;
      }
      pause_.wait_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  Backend& backend_;
  const DeviceOptions options_;
  std::atomic<std::uint64_t> waits_{0};
  bool detached_ = false;
  LoopDirectory directory_;
  std::string path_;
  const std::uint32_t sector_size_;
  std::unique_ptr<FuseFile> file_;
  Loop loop_;
  DeviceLink link_;
  Stop pause_;
};

}  // namespace

std::unique_ptr<Device> attach_loop(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<LoopDevice>(backend, options);
}

}  // namespace r3
