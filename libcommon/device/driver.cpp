// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/driver.hpp"

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/device/fuse.hpp"
#include "libcommon/device/loop.hpp"
#include "libcommon/device/nbd.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/ublk.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3 {
namespace {

struct Driver {
  const char* name;
  const char* shows;
  std::unique_ptr<Device> (*attach)(Backend&, const DeviceOptions&);
};

// In the order in which "auto" tries them.
constexpr Driver kDrivers[] = {
    {"ublk", "a block device", attach_ublk},
    {"nbd", "a block device", attach_nbd},
    {"loop", "a block device", attach_loop},
    {"fuse", "a file", attach_fuse},
};

const Driver& find_driver(const std::string& name) {
  std::string known = "auto";
  for (const Driver& driver : kDrivers) {
    if (name == driver.name) return driver;
    known += std::string(", ") + driver.name;
  }
  throw std::invalid_argument("--driver: '" + name + "' is none of " + known);
}

// Shows a little memory and reads it back through the kernel.
DriverReport probe(const Driver& driver) {
  DriverReport report{driver.name, false, {}};
  constexpr std::string_view kText = "one region as one file";
  try {
    MemoryBackend memory(64 * KiB);
    memory.write_at(as_bytes(kText), 4096);
    const std::unique_ptr<Device> device = driver.attach(memory, {});
    std::string seen(kText.size(), '\0');
    const int error =
        read_own_device(device->path(), std::as_writable_bytes(std::span(seen)), 4096);
    if (error != 0) fail(error, device->path());
    report.usable = seen == kText;
    report.reason = report.usable ? driver.shows : "wrong bytes were read back";
  } catch (...) {  // what is wrong here is the answer
    report.reason = text_of_current_exception();
  }
  return report;
}

// The reasons of those that could not are said with the choice.
std::unique_ptr<Device> attach_first(Backend& backend, const DeviceOptions& options) {
  std::string refused;
  for (const Driver& driver : kDrivers) {
    try {
      std::unique_ptr<Device> device = driver.attach(backend, options);
      log_hint(std::string("driver ") + driver.name + " (" + driver.shows + ")" + refused);
      return device;
    } catch (const std::system_error& error) {
      refused += std::string("; not ") + driver.name + ": " + error.what();
    }
  }
  throw std::runtime_error("no driver can show it" + refused);
}

}  // namespace

void give_up(Backend& backend, std::chrono::milliseconds patience) noexcept {
  log_warning("no answer for " + std::to_string(patience.count()) + " ms: giving up");
  backend.abandon();
}

std::unique_ptr<Device> attach_device(const std::string& name, Backend& backend,
                                      const DeviceOptions& options) {
  if (name == "auto") return attach_first(backend, options);
  return find_driver(name).attach(backend, options);
}

std::vector<DriverReport> probe_drivers() {
  std::vector<DriverReport> reports;
  for (const Driver& driver : kDrivers) reports.push_back(probe(driver));
  return reports;
}

}  // namespace r3
