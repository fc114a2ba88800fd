// SPDX-License-Identifier: Apache-2.0
// Makes a region a local file or block device, for as long as it runs.
#include <stdexcept>

#include "libcommon/base/log.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/net/region.hpp"
#include "tools/r3-mount/owner.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "r3-mount",
    "Make a region a local file or block device",
    "r3-mount --direct nbd://server/disk /tmp/disk\n"
    "r3-mount --direct --driver loop memory:1G --run sh -c 'mkfs.ext4 $R3_PATH'\n"
    "r3-mount --list-drivers",
};

struct Options {
  std::string region;
  std::string driver = "auto";
  bool direct = false;
  bool list_drivers = false;
  std::string mode = "0600";
  std::string owner;
  DeviceOptions device;
  RegionOptions open;
};

void declare(Tool& tool, Options& options) {
  OptionSet& set = tool.options();
  set.argument("REGION", options.region, "the bytes: see r3tools(7)", OptionSet::Need::optional);
  set.argument("PATH", options.device.path, "where to show them (default: made and printed)",
               OptionSet::Need::optional);
  set.flag("--direct", options.direct, "every read and write goes to the region itself");
  set.text("--driver", "NAME", options.driver, "fuse (a file), loop (a block device), auto (fuse)");
  set.flag("-r,--read-only", options.device.read_only, "refuse writes");
  set.text("--mode", "OCTAL", options.mode, "permissions (default 0600)");
  set.text("--owner", "USER[:GROUP]", options.owner, "who owns it (default: who runs this)");
  set.duration("--io-timeout", options.open.io_timeout,
                       "I/O fails with EIO after an outage of TIME (default: it waits)");
  set.duration("--grace", options.device.grace,
                       "how long to wait at the end for users and the region (default 30s)");
  set.number("--connections", options.open.connections, 1, 64,
                     "connections to a remote server (default 1)");
  set.number("--threads", options.device.threads, 1, 1024,
                     "requests that wait for the region at once (default 64)");
  set.flag("--force", options.device.force, "hide a file that is not empty");
  set.flag("--list-drivers", options.list_drivers, "try each driver, say what is missing");
  tool.run_option();
}

// Exit status 3 if no driver can be used here.
int list_drivers(Tool& tool) {
  int status = kNo;
  for (const DriverReport& driver : probe_drivers()) {
    if (driver.usable) status = kDone;
    if (tool.json())
      tool.print(Json().add("event", "driver").add("driver", driver.name)
                     .add("usable", driver.usable).add("reason", driver.reason).text());
    else
      tool.print(driver.name + (driver.usable ? "\tyes\t" : "\tno\t") + driver.reason);
  }
  return status;
}

void check_usage(Options& options) {
  if (options.region.empty()) throw std::invalid_argument("REGION is missing: see --help");
  if (!options.direct)
    throw std::invalid_argument("--direct is needed: only direct mounts exist so far");
  const Owner owner = options.owner.empty() ? Owner{} : parse_owner(options.owner);
  options.device.owner = owner.user;
  options.device.group = owner.group;
  options.device.mode = parse_mode(options.mode);
}

Json status_of(const Device& device, const Backend& backend) {
  const DeviceCounters now = device.counters();
  return Json().add("path", device.path()).add("size", backend.size())
      .add("reads", now.reads).add("read_bytes", now.read_bytes)
      .add("writes", now.writes).add("written_bytes", now.written_bytes)
      .add("waiting", now.waiting).add("lost_bytes", now.lost_bytes);
}

int serve(Tool& tool, Options& options) {
  if (options.list_drivers) return list_drivers(tool);
  check_usage(options);
  options.open.read_only = options.device.read_only;
  options.device.on_ended = [&tool] { tool.stop().request(); };
  options.open.stop = &tool.stop();
  options.open.on_change = [&tool](bool connected) {
    tool.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
  };

  const std::unique_ptr<Backend> backend = open_region(parse_region(options.region), options.open);
  options.device.read_only |= backend->read_only();
  const std::unique_ptr<Device> device = attach_device(options.driver, *backend, options.device);
  tool.control().on("status", [&] { return status_of(*device, *backend); });
  tool.control().on("flush", [&] { device->flush(); return Json().add("flushed", true); });

  tool.on_forced_exit([&] { log_warning(device->path() + ": what was not flushed is lost"); });
  if (!tool.json()) tool.print(device->path());
  tool.events().send(Json().add("event", "attached").add("path", device->path())
                         .add("size", backend->size()));
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + device->path()});
  device->detach();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
