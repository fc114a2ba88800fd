// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/fuse.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>

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

constexpr std::chrono::milliseconds kLookEvery{50};
constexpr std::chrono::milliseconds kSettling{1000};

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

using Clock = std::chrono::steady_clock;

class FuseDevice : public FuseFile {
 public:
  FuseDevice(Backend& backend, const DeviceOptions& options)
      : backend_(backend), options_(options), point_(options.path, options.force),
        server_(backend, options) {
    server_.start(point_.path(), mount_options(options));
    mounted_.active = true;
    mounted_.mount = find();
    server_.wait_until_agreed();
    set_read_ahead();
  }

  const std::string& path() const override { return point_.path(); }
  const char* driver() const override { return "fuse"; }
  DeviceCounters counters() const override { return server_.counters(); }

  void flush() override {
    if (const int error = write_out(); error != 0) fail(error, path());
  }

  void detach() override { detach_by(Clock::now() + options_.grace); }

  void detach_by(Clock::time_point then) override {
    const std::uint64_t lost_before = server_.counters().lost_bytes;
    bool cut_off = false;
    int error = 0;
    {
      const Watchdog watchdog(
          options_.grace, [this] { return server_.counters().progress + waits_; },
          [this] { give_up(backend_, options_.grace); });
      error = write_out();
      cut_off = !end_in_time(then);
      if (cut_off) {
        write_out();  // what they wrote while we waited
        take_away();
      } else {
        server_.join();
      }
      if (const int late = server_.flush(); error == 0) error = late;
    }
    mounted_.active = false;
    const std::uint64_t lost = server_.counters().lost_bytes - lost_before;
    if (lost > 0) fail(EIO, path() + ": " + std::to_string(lost) + " bytes were not written");
    if (error != 0) fail(error, path() + ": what was written last may be lost");
    if (const auto still = where()) fail(EBUSY, *still + ": dead, but still mounted: umount(8) takes it away");
    if (cut_off) fail(EBUSY, path() + ": taken away from those who used it");
  }

 private:
  // Leaves nothing mounted, whatever happened.
  struct Mounted {
    FuseDevice& device;
    bool active = false;
    Mount mount{};
    ~Mounted() {
      if (active) device.take_away();
    }
  };

  // In the mount table: to ask the file would be to ask ourselves. The newest is ours.
  Mount find() const {
    Mount found;
    for (Mount& mount : read_mounts())
      if (mount.path == path() && mount.type == kFuseType) found = std::move(mount);
    return found;
  }

  // Where it is now: a directory above it may have got another name. None if somebody has taken it out of the
  // tree; whoever has it open may go on. The kernel gives both numbers to the next mount once ours is gone, but
  // not before it has ended our connection: then only a dead mount can be ours.
  std::optional<std::string> where() const {
    std::optional<Mount> now = find_mount(mounted_.mount.id);
    if (!now || now->minor != mounted_.mount.minor || now->type != kFuseType) return {};
    if (!server_.connected() && !is_dead(*now)) return {};
    return std::move(now->path);
  }

  void set_read_ahead() {
    std::ofstream setting("/sys/class/bdi/0:" + std::to_string(mounted_.mount.minor) +
                          "/read_ahead_kb");
    // Root only; slower otherwise.
    setting << options_.read_ahead_kib(kReadAheadKiB) << std::flush;
  }

  // What the kernel holds, then what the backend holds. Returns 0 or an errno.
  int write_out() {
    int error = 0;
    if (const auto path = where()) {
      error = sync_own_device(*path);
    } else {
      for (const Holder& holder : holders_of(mounted_.mount))
        if (const int failed = sync_own_device(holder.file); error == 0) error = failed;
    }
    return error != 0 ? error : server_.flush();
  }

  // EBUSY while somebody uses it, 0 when nobody can any more.
  int try_to_end() {
    if (const auto path = where()) {
      point_.follow(*path);
      const int error = unmount(*path);
      if (error != EINVAL) return error;  // else somebody was faster
    }
    return server_.wait_until_ended(Clock::now()) ? 0 : EBUSY;
  }

  // A connection whose mount is gone ends in a moment, or belongs to somebody who has the file open.
  bool end_in_time(Clock::time_point then) {
    int error = try_to_end();
    const auto begin = Clock::now();
    for (bool said = false; error == EBUSY; error = try_to_end()) {
      const bool here = where().has_value();
      if (Clock::now() >= std::max(then, here ? then : begin + kSettling)) break;
      if (!said && (here || Clock::now() > begin + kSettling / 5)) said = say_who(here);
      pause_.wait_for(here || said ? kLookEvery : kSettling / 200);
      ++waits_;
    }
    if (error != 0 && error != EBUSY)
      log_warning(path() + ": cannot be unmounted: " + std::generic_category().message(error));
    return error == 0;
  }

  bool say_who(bool here) const {
    const std::vector<Holder> holders = holders_of(mounted_.mount);
    if (here || !holders.empty())
      log_warning(path() + " is in use" + by(names_of(holders)) + ": waiting for it");
    return true;
  }

  void take_away() {
    backend_.abandon();
    if (const auto path = where()) unmount_by_force(*path);
    server_.interrupt();
  }

  Backend& backend_;
  const DeviceOptions options_;
  MountPoint point_;
  FuseServer server_;
  std::atomic<std::uint64_t> waits_{0};
  const Stop pause_;
  Mounted mounted_{*this};
};

}  // namespace

std::unique_ptr<FuseFile> attach_fuse_file(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<FuseDevice>(backend, options);
}

std::unique_ptr<Device> attach_fuse(Backend& backend, const DeviceOptions& options) {
  return std::make_unique<FuseDevice>(backend, options);
}

}  // namespace r3
