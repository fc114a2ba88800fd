// SPDX-License-Identifier: Apache-2.0
// ublk as the kernel has it: /dev/ublk-control and /dev/ublkcN, commands by io_uring.
#pragma once

#include <mutex>

#include "libcommon/base/fd.hpp"
#include "libcommon/device/ublk_kernel.hpp"
#include "libcommon/device/uring.hpp"

namespace r3 {

class UringUblk : public UblkKernel {
 public:
  // Throws std::system_error that says what to do if the kernel has no ublk, or will not hear us.
  UringUblk();

  int control(unsigned command, const ublksrv_ctrl_cmd& arguments) override;
  std::vector<unsigned> devices() override;
  std::unique_ptr<UblkChannel> open(unsigned device) override;

 private:
  int send(unsigned command, const ublksrv_ctrl_cmd& arguments);

  Fd control_;
  bool encoded_ = false;  // commands are ioctl numbers, which Linux 6.4 brought and later ones may demand
  std::mutex mutex_;
  Uring ring_;  // guarded by mutex_
};

}  // namespace r3
