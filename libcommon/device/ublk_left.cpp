// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_left.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/only_one.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/device/block_node.hpp"
#include "libcommon/device/mount_point.hpp"
#include "libcommon/device/mounts.hpp"

namespace r3 {

namespace {

using std::chrono::milliseconds;

// The kernel looks every five seconds whether a server has died.
constexpr milliseconds kUntilNoticed{20'000};
constexpr milliseconds kLookEvery{20};
// A program that opens every new device for a moment (udev) has closed it by then.
constexpr milliseconds kUntilClosed{2'000};

// True as soon as `done` is, false after `patience`.
bool wait_until(milliseconds patience, const std::function<bool()>& done) {
  const auto end = std::chrono::steady_clock::now() + patience;
  const Stop pause;
  while (!done()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    pause.wait_for(kLookEvery);
  }
  return true;
}

std::string mark_path(unsigned device) {
  return runtime_directory() + "/ublk-" + std::to_string(device) + ".recovery";
}

}  // namespace

Fd hold_ublk_device(unsigned device) { return hold_name("ublk/" + std::to_string(device)); }

UblkRecoveryMark::UblkRecoveryMark(unsigned device) : path_(mark_path(device)) {
  open_file(path_, O_CREAT | O_WRONLY, 0600);
}

UblkRecoveryMark::UblkRecoveryMark(UblkRecoveryMark&& other) noexcept : path_(std::move(other.path_)) {
  other.path_.clear();
}

UblkRecoveryMark::~UblkRecoveryMark() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

bool UblkRecoveryMark::is_there(unsigned device) { return ::access(mark_path(device).c_str(), F_OK) == 0; }

std::optional<LeftUblk> UblkLeft::take(std::uint64_t mark, std::uint64_t size) {
  std::optional<LeftUblk> taken;
  for (const unsigned device : kernel_.devices()) {
    const auto info = control_.find(device);
    if (!info || !is_ublk_mark(info->ublksrv_flags)) continue;
    Fd held = hold_ublk_device(device);
    if (!held.valid()) continue;  // its process lives
    const bool wanted = !taken && mark != 0 && info->ublksrv_flags == mark;
    if (wanted && can_be_taken(*info, size))
      if (auto left = take_over(*info, held)) taken.emplace(std::move(*left));
    if (held.valid()) clean(*info);
  }
  return taken;
}

bool UblkLeft::can_be_taken(const ublksrv_ctrl_dev_info& info, std::uint64_t size) {
  if ((info.flags & UBLK_F_USER_RECOVERY) == 0 || UblkRecoveryMark::is_there(info.dev_id)) return false;
  const std::uint64_t before = control_.parameters(info.dev_id).basic.dev_sectors * kSectorSize;
  if (before == size) return true;
  const std::string node = ublk_node(info.dev_id);
  if (in_use_(node))
    fail(EBUSY, node + by(users_of(node)) + ": was left with " + std::to_string(before) +
                    " bytes, and the region has " + std::to_string(size) + " now; end its users first");
  return false;
}

// `held` is taken only with the device.
std::optional<LeftUblk> UblkLeft::take_over(const ublksrv_ctrl_dev_info& info, Fd& held) {
  UblkRecoveryMark mark(info.dev_id);
  bool begun = false;
  try {
    wait_until(kUntilNoticed, [&] {
      begun = control_.start_recovery(info.dev_id);
      const auto now = control_.find(info.dev_id);
      return begun || !now || now->state == UBLK_S_DEV_DEAD;
    });
  } catch (...) {
    log_debug(text_of_current_exception());
  }
  if (!begun) return std::nullopt;
  return LeftUblk{info, std::move(held), std::move(mark)};
}

bool UblkLeft::wait_until_free(unsigned device) {
  return wait_until(kUntilNoticed, [&] { return kernel_.open(device) != nullptr; });
}

bool UblkLeft::remove(unsigned device) {
  control_.stop(device);
  if (!wait_until(kUntilClosed, [&] { return control_.deletable(device); })) return false;
  control_.remove(device);
  return true;
}

void UblkLeft::clean(const ublksrv_ctrl_dev_info& info) {
  const std::string node = ublk_node(info.dev_id);
  const bool may_come_back = (info.flags & UBLK_F_USER_RECOVERY) != 0 && info.state != UBLK_S_DEV_DEAD;
  try {
    if (may_come_back && !UblkRecoveryMark::is_there(info.dev_id) && in_use_(node)) return;
    if (!wait_until_free(info.dev_id) || !remove(info.dev_id)) return;
    ::unlink(mark_path(info.dev_id).c_str());
    log_debug(node + ": left by a process that was killed, taken away");
  } catch (...) {
    log_debug(node + ": " + text_of_current_exception());
  }
}

}  // namespace r3
