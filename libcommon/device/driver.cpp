// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/driver.hpp"

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/device/fuse.hpp"
#include "libcommon/device/loop.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3 {
namespace {

struct Driver {
  const char* name;
  const char* shows;
  std::unique_ptr<Device> (*attach)(Backend&, const DeviceOptions&);
};

// "auto" is the first.
constexpr Driver kDrivers[] = {
    {"fuse", "a file", attach_fuse},
    {"loop", "a block device", attach_loop},
};

const Driver& find_driver(const std::string& name) {
  std::string known = "auto";
  for (const Driver& driver : kDrivers) {
    if (name == driver.name || name == "auto") return driver;
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

}  // namespace

void give_up(Backend& backend, std::chrono::milliseconds patience) noexcept {
  log_warning("no answer for " + std::to_string(patience.count()) + " ms: giving up");
  backend.abandon();
}

std::unique_ptr<Device> attach_device(const std::string& name, Backend& backend,
                                      const DeviceOptions& options) {
  return find_driver(name).attach(backend, options);
}

std::vector<DriverReport> probe_drivers() {
  std::vector<DriverReport> reports;
  for (const Driver& driver : kDrivers) reports.push_back(probe(driver));
  return reports;
}

}  // namespace r3
