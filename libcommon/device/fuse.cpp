// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/fuse.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/fuse_server.hpp"
#include "libcommon/device/mount_point.hpp"
#include "libcommon/device/mounts.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"

namespace r3 {
namespace {

// The kernel's default of 128 KiB holds a long link to 128 KiB a round trip.
constexpr unsigned kReadAheadKiB = 1024;

bool others_allowed() {
  if (::geteuid() == 0) return true;
  std::ifstream file("/etc/fuse.conf");
  for (std::string line; std::getline(file, line);)
    if (line == "user_allow_other") return true;
  return false;
}

std::vector<std::string> mount_options(const DeviceOptions& options) {
  std::vector<std::string> words{"fsname=r3", "subtype=r3", "default_permissions", "noatime"};
  if (options.read_only) words.push_back("ro");
  // fusermount3 waits beside us and unmounts even after a kill -9.
  if (::geteuid() != 0) words.push_back("auto_unmount");
  if (others_allowed()) {
    words.push_back("allow_other");
  } else if (options.mode & 0077) {
    log_hint("other users stay locked out: /etc/fuse.conf does not say user_allow_other");
  }
  return words;
}

class FuseDevice : public Device {
 public:
  FuseDevice(Backend& backend, const DeviceOptions& options)
      : backend_(backend), options_(options), point_(options.path, options.force),
        server_(backend, options) {
    server_.start(point_.path(), mount_options(options));
    mount_.active = true;
    server_.wait_until_agreed();
    set_read_ahead();
  }

  const std::string& path() const override { return point_.path(); }
  const char* driver() const override { return "fuse"; }
  DeviceCounters counters() const override { return server_.counters(); }

  void flush() override {
    if (const int error = write_out(); error != 0) fail(error, path());
  }

  void detach() override {
    const std::uint64_t lost_before = server_.counters().lost_bytes;
    bool cut_off = false;
    int error = 0;
    {
      const Watchdog watchdog(
          options_.grace, [this] { return server_.counters().progress + waits_; },
          [this] { give_up(backend_, options_.grace); });
      error = write_out();
      cut_off = !unmount_in_time();
      if (cut_off) {
        write_out();  // what they wrote while we waited
        take_away();
      } else {
        server_.join();
      }
      if (const int late = server_.flush(); error == 0) error = late;
    }
    mount_.active = false;
    const std::uint64_t lost = server_.counters().lost_bytes - lost_before;
    if (lost > 0) fail(EIO, path() + ": " + std::to_string(lost) + " bytes were not written");
    if (error != 0) fail(error, path() + ": what was written last may be lost");
    if (cut_off) fail(EBUSY, path() + ": taken away from those who used it");
  }

 private:
  // Leaves nothing mounted, whatever happened.
  struct Mounted {
    FuseDevice& device;
    bool active = false;
    ~Mounted() {
      if (active) device.take_away();
    }
  };

  // The device's number is asked of the mount table: to ask the file would be to ask ourselves.
  void set_read_ahead() {
    for (const Mount& mount : read_mounts())
      if (mount.path == path() && mount.type == kFuseType) {
        std::ofstream setting("/sys/class/bdi/0:" + std::to_string(mount.minor) + "/read_ahead_kb");
        setting << kReadAheadKiB << std::flush;  // root only; slower otherwise
      }
  }

  // What the kernel holds, then what the backend holds. Returns 0 or an errno.
  int write_out() {
    const int error = sync_own_device(path());
    return error != 0 ? error : server_.flush();
  }

  bool unmount_in_time() {
    const auto deadline = std::chrono::steady_clock::now() + options_.grace;
    int error = unmount(path());
    if (error == EBUSY)
      log_warning(path() + " is in use" + by(holders_of(path())) + ": waiting for it");
    const Stop pause;
    while (error == EBUSY && std::chrono::steady_clock::now() < deadline) {
      pause.wait_for(std::chrono::milliseconds(50));
      ++waits_;
      error = unmount(path());
    }
    return error == 0 || error == EINVAL;  // EINVAL: somebody else has unmounted it
  }

  void take_away() {
    backend_.abandon();
    unmount_by_force(path());
    server_.interrupt();
  }

  Backend& backend_;
  const DeviceOptions options_;
  MountPoint point_;
  FuseServer server_;
  std::atomic<std::uint64_t> waits_{0};
  Mounted mount_{*this};
};

}  // namespace

std::unique_ptr<Device> attach_fuse(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<FuseDevice>(backend, options);
}

}  // namespace r3
