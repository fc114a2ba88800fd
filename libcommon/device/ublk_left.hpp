// SPDX-License-Identifier: Apache-2.0
// Devices whose process was killed: one that shows the same region goes to the next process, with everybody who has it
// open; the rest are cleaned away, unless somebody uses them, who may yet get their process back.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/device/ublk_control.hpp"

namespace r3 {

// Held by the process that serves the device.
Fd hold_ublk_device(unsigned device);

// There from before a recovery begins until it has ended. The kernel would crash over a second recovery after
// one that was cut short (Linux 6.1: ublk_queue_reinit), so such a device is not taken over any more.
class UblkRecoveryMark {
 public:
  explicit UblkRecoveryMark(unsigned device);
  ~UblkRecoveryMark();
  UblkRecoveryMark(UblkRecoveryMark&& other) noexcept;
  UblkRecoveryMark& operator=(UblkRecoveryMark&&) = delete;
  static bool is_there(unsigned device);

 private:
  std::string path_;
};

// A device that was taken over; its recovery has begun, and is to be ended once every queue has its tags.
struct LeftUblk {
  ublksrv_ctrl_dev_info info;
  Fd held;
  UblkRecoveryMark mark;
};

class UblkLeft {
 public:
  // Borrows both. `in_use` is asked about nodes.
  UblkLeft(UblkKernel& kernel, UblkControl& control, std::function<bool(const std::string&)> in_use)
      : kernel_(kernel), control_(control), in_use_(std::move(in_use)) {}

  // Takes the device with this mark over, if there is one (mark 0: none), and cleans the others away. Throws EBUSY
  // if it is in use, but has another size.
  std::optional<LeftUblk> take(std::uint64_t mark, std::uint64_t size);
  // Deletes a device that nobody serves; false while somebody still has it open, even if it shows nothing any more.
  bool remove(unsigned device);

 private:
  bool can_be_taken(const ublksrv_ctrl_dev_info& info, std::uint64_t size);
  std::optional<LeftUblk> take_over(const ublksrv_ctrl_dev_info& info, Fd& held);
  bool wait_until_free(unsigned device);
  void clean(const ublksrv_ctrl_dev_info& info);

  UblkKernel& kernel_;
  UblkControl& control_;
  const std::function<bool(const std::string&)> in_use_;
};

}  // namespace r3
