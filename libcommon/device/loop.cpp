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
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

// One bound /dev/loopN.
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

  // Unbinds it: at once if nobody has it open, else when the last one closes it.
  void release() noexcept {
    if (released_) return;
    released_ = true;
    shown_->give_back();
    unbind_loop(node_);
  }

  bool gone() const { return !is_attached(node_); }

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

  std::string node_;
  std::optional<BlockNode> shown_;
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
  const char* driver() const override { return "loop"; }
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
      unused = loop_.shown().wait_until_unused(options_.grace, [this] { ++waits_; });
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

  static std::uint32_t sector_size(const Backend& backend) {
    check_block_device_size(backend.size());
    return kSectorSize;
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
  DeviceLink link_;
  Stop pause_;
};

}  // namespace

std::unique_ptr<Device> attach_loop(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<LoopDevice>(backend, options);
}

}  // namespace r3
