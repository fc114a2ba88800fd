// SPDX-License-Identifier: Apache-2.0
// Makes a region a local file or block device, for as long as it runs.
#include <atomic>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/net/region.hpp"
#include "tools/r3-mount/identity.hpp"
#include "tools/r3-mount/managed.hpp"
#include "tools/r3-mount/mount.hpp"
#include "tools/r3-mount/options.hpp"

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

int serve(Tool& tool, MountOptions& options) {
  if (options.list_drivers) return list_drivers(tool);
  check_mount(options);
  std::atomic<bool> connected{true};
  options.open.on_change = [&](bool now) {
    connected = now;
    tool.events().send(Json().add("event", now ? "reconnected" : "disconnected"));
  };
  options.open.stop = &tool.stop();
  options.open.read_only = options.device.read_only;

  const Region named = parse_region(options.region);
  const std::unique_ptr<Backend> region = open_region(named, options.open);
  options.device.read_only |= region->read_only();
  options.device.identity = identity_of(named, options);
  std::unique_ptr<Managed> managed;
  if (!options.direct)
    managed = std::make_unique<Managed>(*region, to_text(named), options.managed, tool);
  if (managed && !managed->ready()) return kDone;
  Backend& backend = managed ? managed->backend() : *region;
  Mount mount(backend, managed.get(), options.driver, options.device, tool);

  tool.control().on("status", [&] { return mount.status().add("connected", connected.load()); });
  tool.control().on("flush", [&] {
    mount.flush();
    return Json().add("flushed", true);
  });
  if (managed) managed->add_words(tool.control());
  mount.announce();
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + mount.path()});
  mount.end();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  MountOptions options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare_mount(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
