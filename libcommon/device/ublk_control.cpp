// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/ublk_control.hpp"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "libcommon/base/error.hpp"
#include "libcommon/device/block_node.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMostBlock = 4096;
// A discard or a zeroing of any length keeps one thread busy: not for too long at a time.
constexpr std::uint32_t kMostDiscard = static_cast<std::uint32_t>(1024 * MiB / kSectorSize);
constexpr std::uint64_t kMarkMagic = 0x7233'0000'0000'0000;  // "r3"
constexpr std::uint64_t kMarkMagicBits = 0xffff'0000'0000'0000;

std::uint8_t shift_of(std::uint64_t block) { return static_cast<std::uint8_t>(std::countr_zero(block)); }

}  // namespace

ublksrv_ctrl_dev_info ublk_device_info(const UblkShape& shape) {
  ublksrv_ctrl_dev_info info{};
  info.nr_hw_queues = static_cast<__u16>(shape.queues);
  info.queue_depth = kUblkDepth;
  info.max_io_buf_bytes = kUblkMaxRequest;
  info.dev_id = ~0U;  // any
  info.ublksrv_flags = shape.mark;
  // What the kernel had handed out when the process died is asked again: every request can be repeated.
  if (shape.recoverable) info.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
  return info;
}

ublk_params ublk_parameters(const UblkShape& shape) {
  const std::uint64_t block = std::clamp<std::uint64_t>(shape.block_size, kSectorSize, kMostBlock);
  ublk_params params{};
  params.len = sizeof params;
  params.types = UBLK_PARAM_TYPE_BASIC;
  params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
  if (shape.read_only) params.basic.attrs |= UBLK_ATTR_READ_ONLY;
  params.basic.logical_bs_shift = shift_of(kSectorSize);
  params.basic.physical_bs_shift = shift_of(block);
  params.basic.io_min_shift = shift_of(block);
  params.basic.io_opt_shift = shift_of(std::clamp<std::uint64_t>(shape.block_size, block, kUblkMaxRequest));
  params.basic.max_sectors = kUblkMaxRequest / kSectorSize;
  params.basic.dev_sectors = shape.size / kSectorSize;
  if (shape.read_only) return params;
  params.types |= UBLK_PARAM_TYPE_DISCARD;
  params.discard.discard_granularity = static_cast<__u32>(block);
  params.discard.max_discard_sectors = kMostDiscard;
  params.discard.max_write_zeroes_sectors = kMostDiscard;
  params.discard.max_discard_segments = 1;
  return params;
}

std::uint64_t ublk_mark(std::string_view identity) {
  return kMarkMagic | (::XXH3_64bits(identity.data(), identity.size()) & ~kMarkMagicBits);
}

bool is_ublk_mark(std::uint64_t mark) { return (mark & kMarkMagicBits) == kMarkMagic; }

std::string ublk_node(unsigned device) { return "/dev/ublkb" + std::to_string(device); }

int UblkControl::run(unsigned command, unsigned device, void* buffer, std::size_t length, std::uint64_t data) {
  ublksrv_ctrl_cmd arguments{};
  arguments.dev_id = device;
  arguments.queue_id = static_cast<__u16>(-1);
  arguments.addr = reinterpret_cast<std::uintptr_t>(buffer);
  arguments.len = static_cast<__u16>(length);
  arguments.data[0] = data;
  return kernel_.control(command, arguments);
}

void UblkControl::run_or_throw(unsigned command, unsigned device, std::string_view what, std::uint64_t data) {
  const int result = run(command, device, nullptr, 0, data);
  if (result < 0) fail(-result, ublk_node(device) + ": " + std::string(what));
}

ublksrv_ctrl_dev_info UblkControl::add(const ublksrv_ctrl_dev_info& wanted) {
  ublksrv_ctrl_dev_info info = wanted;
  const int result = run(UBLK_CMD_ADD_DEV, info.dev_id, &info, sizeof info);
  if (result < 0) fail(-result, "a new ublk device");
  return info;
}

std::optional<ublksrv_ctrl_dev_info> UblkControl::find(unsigned device) {
  ublksrv_ctrl_dev_info info{};
  if (run(UBLK_CMD_GET_DEV_INFO, device, &info, sizeof info) < 0) return std::nullopt;
  return info;
}

ublk_params UblkControl::parameters(unsigned device) {
  ublk_params params{};
  params.len = sizeof params;
  const int result = run(UBLK_CMD_GET_PARAMS, device, &params, sizeof params);
  if (result < 0) fail(-result, ublk_node(device) + ": what it is like");
  return params;
}

void UblkControl::set_parameters(unsigned device, const ublk_params& parameters) {
  ublk_params params = parameters;
  const int result = run(UBLK_CMD_SET_PARAMS, device, &params, sizeof params);
  if (result < 0) fail(-result, ublk_node(device) + ": its size and blocks");
}

void UblkControl::start(unsigned device) {
  run_or_throw(UBLK_CMD_START_DEV, device, "start", static_cast<std::uint64_t>(::getpid()));
}

void UblkControl::stop(unsigned device) { run_or_throw(UBLK_CMD_STOP_DEV, device, "stop"); }

// The kernel lets parameters be set only where no disk is left.
bool UblkControl::deletable(unsigned device) {
  ublk_params params = parameters(device);
  if (params.types == 0) return true;  // it was never started
  params.len = sizeof params;
  return run(UBLK_CMD_SET_PARAMS, device, &params, sizeof params) != -EACCES;
}

void UblkControl::remove(unsigned device) { run_or_throw(UBLK_CMD_DEL_DEV, device, "delete"); }

bool UblkControl::start_recovery(unsigned device) {
  const int result = run(UBLK_CMD_START_USER_RECOVERY, device);
  if (result == -EBUSY) return false;
  if (result < 0) fail(-result, ublk_node(device) + ": take it over");
  return true;
}

void UblkControl::end_recovery(unsigned device) {
  run_or_throw(UBLK_CMD_END_USER_RECOVERY, device, "take it over", static_cast<std::uint64_t>(::getpid()));
}

}  // namespace r3
