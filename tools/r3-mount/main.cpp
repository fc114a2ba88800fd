// SPDX-License-Identifier: Apache-2.0
// Makes a region a local file or block device, for as long as it runs.
#include <atomic>
#include <stdexcept>

#include "libcommon/base/log.hpp"
#include "libcommon/cli/last_words.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/net/region.hpp"
#include "tools/r3-mount/managed.hpp"
#include "tools/r3-mount/owner.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "r3-mount",
    "Make a region a local file or block device",
    "r3-mount r3://server/ /tmp/disk\n"
    "r3-mount --cache /var/cache/disk nbd://server/disk --run sqlite3 /tmp/disk\n"
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
  ManagedOptions managed;
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
  declare_managed(set, options.managed);
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
  check_managed(options.managed);
  if (options.direct && options.managed.on_disk())
    throw std::invalid_argument("--cache: a direct mount has none");
  if (options.direct && options.managed.ordered())
    throw std::invalid_argument("--pull-order, --record, --replay: a direct mount pulls nothing");
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

// What the application wrote goes to the region while the device can still be used, then the rest.
void end(Device& device, Managed* managed, const Options& options) {
  if (managed) managed->push_at_end(options.device.grace);
  try {
    device.detach();
  } catch (const std::system_error& error) {
    if (!managed || managed->unpushed() == 0) throw;
    log_error(error.what());
  }
  if (managed) managed->close();
}

int serve(Tool& tool, Options& options) {
  if (options.list_drivers) return list_drivers(tool);
  check_usage(options);
  options.open.read_only = options.device.read_only;
  options.device.on_ended = [&tool] { tool.stop().request(); };
  options.open.stop = &tool.stop();
  std::atomic<bool> connected{true};
  options.open.on_change = [&](bool now) {
    connected = now;
    tool.events().send(Json().add("event", now ? "reconnected" : "disconnected"));
  };

  const Region named = parse_region(options.region);
  const std::unique_ptr<Backend> region = open_region(named, options.open);
  options.device.read_only |= region->read_only();
  std::unique_ptr<Managed> managed;
  if (!options.direct)
    managed = std::make_unique<Managed>(*region, to_text(named), options.managed, tool);
  if (managed && !managed->ready()) return kDone;
  Backend& backend = managed ? managed->backend() : *region;
  const std::unique_ptr<Device> device = attach_device(options.driver, backend, options.device);
  tool.control().on("status", [&] {
    Json status = status_of(*device, backend).add("connected", connected.load());
    if (managed) status.add_all(managed->status());
    return status;
  });
  tool.control().on("flush", [&] {
    const EndAfterStop limit(tool.stop(), options.device.grace,
                             [&] { give_up(backend, options.device.grace); });
    device->flush();
    if (managed) managed->push();
    return Json().add("flushed", true);
  });
  if (managed) managed->add_words(tool.control());

  const LastWords last_words(tool, [&] {
    log_warning(device->path() + ": " +
                (managed ? managed->last_words() : std::string("what was not flushed is lost")));
  });
  if (!tool.json()) tool.print(device->path());
  tool.events().send(Json().add("event", "attached").add("path", device->path())
                         .add("size", backend.size()));
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + device->path()});
  end(*device, managed.get(), options);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
