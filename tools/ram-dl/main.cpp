// SPDX-License-Identifier: Apache-2.0
// ram-dl: swaps to a remote region: more memory than the machine has.
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/resident.hpp"
#include "libcommon/cli/last_words.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/device/watchdog.hpp"
#include "tools/ram-dl/inspect.hpp"
#include "tools/ram-dl/left.hpp"
#include "tools/ram-dl/options.hpp"
#include "tools/ram-dl/region.hpp"
#include "tools/ram-dl/swap_area.hpp"
#include "tools/ram-dl/swapping.hpp"
#include "tools/ram-dl/swaps.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "ram-dl", "swap to a remote region: more memory than the machine has",
    "ram-dl 'r3://server/?key-file=node.key&server-key=server.pub'\n"
    "ram-dl --fallback /var/swap.copy nbd://server/swap --run make -j64\n"
    "ram-dl --inspect --offset 1G --length 4K 'r3://server/?psk-file=lab.psk'\n"
    "ram-dl --clean"};

void report(const std::vector<std::string>& warnings, bool strict) {
  for (const std::string& text : warnings) {
    if (strict) throw std::runtime_error(text + " (--strict)");
    log_warning(text);
  }
}

int look(Tool& tool, DlOptions& o) {
  o.open.read_only = true;
  o.open.stop = &tool.stop();
  const auto region = open_region(region_of(o), o.open);
  inspect(*region, o.offset, o.length, o.format == "hex" || (o.format == "auto" && ::isatty(STDOUT_FILENO)));
  return kDone;
}

Json status_of(const Device& device, const Swapping& swapping, const SwapRegion& region, std::uint64_t size) {
  const DeviceCounters now = device.counters();
  Json status;
  status.add("path", device.path()).add("driver", device.driver()).add("size", size)
      .add("adopted", device.adopted()).add("used", swapping.used())
      .add("read_bytes", now.read_bytes).add("written_bytes", now.written_bytes).add("waiting", now.waiting);
  region.add_status(status);
  return status;
}

// Only drivers that serve a block device from this process alone: what goes through FUSE takes memory for its pages
// from the kernel, which it may then have to wait for. The device waits for the next process that has the same
// identity when this one is killed, and so do the programs whose pages it holds.
std::unique_ptr<Device> attach(Backend& backend, const DlOptions& o) {
  DeviceOptions how;
  how.threads = o.threads;
  how.grace = o.grace;
  how.identity = identity_of(o.region);
  if (o.driver != "auto") return attach_device(o.driver, backend, how);
  try {
    return attach_device("ublk", backend, how);
  } catch (const std::system_error& error) {
    log_hint("driver nbd; not ublk: " + std::string(error.what()));
  }
  return attach_device("nbd", backend, how);
}

// Nothing of this is ever to wait for a page: all of it is locked in memory before swap is on.
int swap(Tool& tool, DlOptions& o, SwapUsher& usher) {
  if (::geteuid() != 0) fail(EPERM, "swap needs root");
  const std::string me = name_of_machine();
  Record record(o.region);
  const bool left = find_swap(read_swaps(), record.device()).has_value();
  if (!left) record.set_device("", "");
  report(warnings_for(region_of(o), o), o.strict);
  report(become_resident(o.reserve), o.strict);
  SwapRegion region(o, tool, me, left ? record.uuid() : "");
  if (left && !region.resumed()) clean(record, usher, tool.stop());
  // Before the device is there, whose first page the kernel reads and keeps.
  const std::string uuid = region.resumed() ? record.uuid() : region.claim();
  if (!region.resumed()) record.set_device("", uuid);
  const auto device = attach(region.backend(), o);
  if (region.resumed() && record.device() != device->path()) clean(record, usher, tool.stop());
  record.set_device(device->path(), uuid);
  const auto size = region.backend().size();
  Swapping swapping(usher, device->path(), swap_flags(o), tool.events());
  if (o.force) swapping.do_not_wait();

  tool.control().on("status", [&] { return status_of(*device, swapping, region, size); });
  tool.control().on("force", [&] {
    swapping.do_not_wait();
    return Json().add("waiting", false);
  });
  const LastWords last_words(tool, [&] { log_warning(swapping.last_words()); });
  if (!tool.json() && !tool.runs_command()) tool.print(device->path());
  tool.events().send(Json().add("event", "attached").add("path", device->path()).add("size", size)
                         .add("adopted", device->adopted()));
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + device->path()}, {}, [&] {
    swapping.end(o.grace, [&] { return device->counters().progress; },
                 [&] { give_up(region.backend(), o.grace); });
  });
  device->detach();
  region.release();
  record.remove();
  return status;
}

int work(Tool& tool, DlOptions& o) {
  check_options(tool.options(), o);
  if (o.inspect) return look(tool, o);
  SwapUsher usher;
  if (o.clean) return clean_all(usher, tool.stop()) > 0 ? kDone : kNo;
  return swap(tool, o, usher);
}

}  // namespace

int main(int argc, char** argv) {
  plan_to_be_resident();
  DlOptions options;
  return run(argc, argv, kAbout, [&](Tool& tool) {
    tool.run_option();
    declare_options(tool.options(), options);
  }, [&](Tool& tool) { return work(tool, options); });
}
