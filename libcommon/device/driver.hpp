// SPDX-License-Identifier: Apache-2.0
// A device driver shows a Backend to the application as a local file or block device: fuse, loop, and
// later nbd and ublk. Knows the kernel's interfaces, not where the bytes come from.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/storage/backend.hpp"

namespace r3 {

struct DeviceOptions {
  std::string path;                   // where to show it; empty: the driver makes one
  mode_t mode = 0600;                 // of the file or device
  std::optional<uid_t> owner;
  std::optional<gid_t> group;
  bool read_only = false;
  unsigned threads = 8;               // requests served at once
};

// A region in use as a device. Destroying it detaches in any state, without hanging: what the kernel
// still held unwritten is then lost, and said.
class Device {
 public:
  virtual ~Device() = default;
  virtual const std::string& path() const = 0;
  // Writes out what the kernel holds, flushes the backend, unmounts. Throws what went wrong (EBUSY
  // while somebody has it open, unless `lazy`).
  virtual void detach(bool lazy) = 0;
  // Readable once the device ended by itself (somebody else unmounted it).
  virtual int ended_fd() const = 0;
};

struct DriverReport {
  std::string name;
  bool usable = false;
  std::string reason;  // why it cannot be used, or what it was tried with
};

// Borrows `backend`, which must outlive the device. Throws std::invalid_argument for an unknown driver.
std::unique_ptr<Device> attach_device(const std::string& driver, Backend& backend,
                                      const DeviceOptions& options);

// Tries each driver on this machine.
std::vector<DriverReport> probe_drivers();

}  // namespace r3
