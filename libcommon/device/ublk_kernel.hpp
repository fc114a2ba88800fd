// SPDX-License-Identifier: Apache-2.0
// The kernel's side of ublk (Documentation/block/ublk.rst, linux/ublk_cmd.h, drivers/block/ublk_drv.c), as the
// process that serves a device sees it: control commands, and queues of requests. An interface, so that what
// is above can be held to the rules of the kernel in a test; ublk_uring.hpp is the kernel itself.
#pragma once

#include <linux/ublk_cmd.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

struct UblkEvent {
  std::uint16_t tag = 0;
  int result = 0;  // UBLK_IO_RES_OK: there is a request; anything else: the tag has come to its end
};

// One queue. Everything but ring() is for one thread, the same as long as the queue lives.
class UblkQueuePort {
 public:
  virtual ~UblkQueuePort() = default;

  // What an event with UBLK_IO_RES_OK is about.
  virtual const ublksrv_io_desc& request(unsigned tag) const = 0;
  // Prepares to take a first request; `buffer` is for its data.
  virtual void fetch(unsigned tag, Bytes buffer) = 0;
  // Prepares the answer (bytes, 0 or a negative errno), and to take the next request.
  virtual void commit(unsigned tag, int result, Bytes buffer) = 0;
  // Hands over what was prepared.
  virtual void submit() = 0;
  // The same, then waits for an event or ring(). What it returns is valid until the next call.
  virtual std::span<const UblkEvent> wait() = 0;
  // Any thread.
  virtual void ring() noexcept = 0;
};

// /dev/ublkcN, open. Must be gone, and its queues, before the device can be deleted.
class UblkChannel {
 public:
  virtual ~UblkChannel() = default;
  // To be called by the thread that will use it.
  virtual std::unique_ptr<UblkQueuePort> queue(unsigned number, unsigned depth) = 0;
};

class UblkKernel {
 public:
  virtual ~UblkKernel() = default;
  // UBLK_CMD_*: 0 or a negative errno. Any thread, one at a time; may wait, as the command does.
  virtual int control(unsigned command, const ublksrv_ctrl_cmd& arguments) = 0;
  // The numbers of the devices that there are.
  virtual std::vector<unsigned> devices() = 0;
  // None while somebody serves the device.
  virtual std::unique_ptr<UblkChannel> open(unsigned device) = 0;
};

}  // namespace r3
