// SPDX-License-Identifier: Apache-2.0
// A ublk device's life, command by command, and what the kernel is told of the device. Knows the order of nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "libcommon/device/ublk_kernel.hpp"

namespace r3 {

inline constexpr unsigned kUblkDepth = 64;                   // requests in a queue
inline constexpr std::uint32_t kUblkMaxRequest = 512 * KiB;  // of data

// What a device is to be like.
struct UblkShape {
  std::uint64_t size = 0;        // a multiple of 512
  std::uint64_t block_size = 1;  // see Backend
  bool read_only = false;
  unsigned queues = 1;
  // Outlives the process that serves it, for another one that has the same mark.
  bool recoverable = false;
  std::uint64_t mark = 0;  // see ublk_mark()
};

// For ADD_DEV and SET_PARAMS.
ublksrv_ctrl_dev_info ublk_device_info(const UblkShape& shape);
ublk_params ublk_parameters(const UblkShape& shape);

// Every device of ours has a mark, by which the next process knows it; the same identity has the same.
std::uint64_t ublk_mark(std::string_view identity);
bool is_ublk_mark(std::uint64_t mark);

// Each throws std::system_error that names the device, but where it says otherwise. One thread at a time.
class UblkControl {
 public:
  // Borrows the kernel.
  explicit UblkControl(UblkKernel& kernel) : kernel_(kernel) {}

  // Returns what the kernel has made of it: the number, how many queues. ENOSPC: there is no free number.
  ublksrv_ctrl_dev_info add(const ublksrv_ctrl_dev_info& wanted);
  std::optional<ublksrv_ctrl_dev_info> find(unsigned device);
  ublk_params parameters(unsigned device);
  void set_parameters(unsigned device, const ublk_params& parameters);
  void start(unsigned device);  // once every queue has fetched all its tags
  // The disk goes; waits for requests that are being answered. Its users get errors from then on.
  void stop(unsigned device);
  // False while somebody still has the stopped disk open: to delete the device would then wait for them in a way
  // that nothing ends, and all others who want to add or delete one with it.
  bool deletable(unsigned device);
  void remove(unsigned device);
  // False while the kernel has not yet noticed that the one before is dead.
  bool start_recovery(unsigned device);
  void end_recovery(unsigned device);

 private:
  int run(unsigned command, unsigned device, void* buffer = nullptr, std::size_t length = 0,
          std::uint64_t data = 0);
  void run_or_throw(unsigned command, unsigned device, std::string_view what, std::uint64_t data = 0);

  UblkKernel& kernel_;
};

std::string ublk_node(unsigned device);  // "/dev/ublkb0"

}  // namespace r3
