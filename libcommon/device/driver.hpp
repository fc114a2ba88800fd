// SPDX-License-Identifier: Apache-2.0
// A device driver shows a Backend to the application as a local file (fuse) or block device (ublk, nbd,
// loop). Knows the kernel's interfaces, not where the bytes come from.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct DeviceOptions {
  std::string path;            // where to show it; empty: the driver makes one
  mode_t mode = 0600;          // of the file or device
  std::optional<uid_t> owner;  // default: who runs the process
  std::optional<gid_t> group;
  bool read_only = false;
  bool force = false;     // hide a file that is not empty
  // How far the kernel reads ahead at most; 0: what suits the driver. Little, where what is not read should stay away.
  std::uint64_t read_ahead = 0;
  std::uint64_t read_ahead_kib(std::uint64_t usual) const { return read_ahead != 0 ? read_ahead / KiB : usual; }
  unsigned threads = 64;  // requests that may wait for the backend at once
  // Names a region whose bytes outlive this process, and how it is shown: a block device (ublk, nbd) then waits for
  // the next process that has the same, if this one is killed. Empty: its users get errors at once.
  std::string identity;
  // How long detach() waits for those who use the device, and for a backend that does not answer.
  std::chrono::milliseconds grace{30'000};
  // Called once, in a thread of the device's, when it ended: by detach(), or because somebody
  // unmounted it.
  std::function<void()> on_ended;
  // Called in such a thread when the last one who had the file open has closed it (fuse). Without it, the
  // kernel need not tell who opens and closes.
  std::function<void()> on_unused;
};

struct DeviceCounters {
  std::uint64_t reads = 0;
  std::uint64_t read_bytes = 0;
  std::uint64_t writes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t waiting = 0;     // requests that wait for the backend now
  std::uint64_t lost_bytes = 0;  // of writes that the backend refused or could not take
  std::uint64_t progress = 0;    // requests answered
};

// A region in use as a device. Destroying it takes the device away in any state, without hanging:
// what the kernel still held unwritten is then lost.
class Device {
 public:
  virtual ~Device() = default;
  virtual const std::string& path() const = 0;
  virtual const char* driver() const = 0;
  // Whether it was left by a process that was killed, and taken over.
  virtual bool adopted() const { return false; }
  virtual DeviceCounters counters() const = 0;
  // Writes out what the kernel holds and flushes the backend.
  virtual void flush() = 0;
  // The same, then takes the device away, in bounded time. Who still uses it is named and waited
  // for (options.grace), then loses it. A backend that does not get on for as long is abandoned.
  // Throws if anything was lost. Only once.
  virtual void detach() = 0;
};

struct DriverReport {
  std::string name;
  bool usable = false;
  std::string reason;  // why it cannot be used, or what it was tried with
};

// `driver` is "ublk", "nbd", "loop", "fuse", or "auto": the first of these that can show it, of which a hint says
// which it is and why not those before. Borrows `backend`, which must outlive the device. Throws
// std::invalid_argument for an unknown driver, std::system_error naming the path or device otherwise.
std::unique_ptr<Device> attach_device(const std::string& driver, Backend& backend,
                                      const DeviceOptions& options);

// Tries each driver on this machine with a few bytes of memory.
std::vector<DriverReport> probe_drivers();

}  // namespace r3
