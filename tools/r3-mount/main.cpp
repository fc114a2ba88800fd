// SPDX-License-Identifier: Apache-2.0
// Makes a region a local file or block device, for as long as it runs.
#include <fcntl.h>

#include <optional>
#include <stdexcept>

#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/region.hpp"
#include "tools/r3-mount/identity.hpp"
#include "tools/r3-mount/link_state.hpp"
#include "tools/r3-mount/managed.hpp"
#include "tools/r3-mount/mount.hpp"
#include "tools/r3-mount/options.hpp"
#include "tools/r3-mount/writer_lock.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "r3-mount",
    "Make a region a local file or block device",
    "r3-mount 'r3://server/?psk-file=lab.psk' /tmp/disk\n"
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

bool is_fenced(const Backend& region) {
  const auto* r3 = dynamic_cast<const R3Client*>(&region);
  return r3 != nullptr && r3->is_fenced();
}

PassedFd open_for_command(const Mount& mount, const MountOptions& options) {
  if (options.pass_fd == 0) return {};
  return {open_file(mount.path(), options.device.read_only ? O_RDONLY : O_RDWR),
          static_cast<int>(options.pass_fd)};
}

int serve(Tool& tool, MountOptions& options) {
  if (options.list_drivers) return list_drivers(tool);
  if (options.pass_fd > 0 && !tool.runs_command())
    throw std::invalid_argument("--pass-fd: there is no command to give it to (--run)");
  check_mount(options);
  const Region named = parse_region(options.region);
  LinkState link(tool);
  link.watch(options.open);
  options.open.stop = &tool.stop();
  options.open.read_only = options.device.read_only;
  options.open.only_writer = !options.direct;
  const std::unique_ptr<Backend> region = open_region(named, options.open);
  options.device.read_only |= region->read_only();
  options.device.identity = identity_of(named, options);
  Hooks hooks(options.hooks, options.device.grace);
  std::optional<WriterLock> lock;
  std::unique_ptr<Managed> managed;
  if (!options.direct && !options.device.read_only && !is_fenced(*region)) lock.emplace(named);
  if (!options.hooks.before_sync.empty()) options.managed.before_sync = [&] { hooks.before_sync(); };
  if (!options.direct)
    managed = std::make_unique<Managed>(*region, to_text(named), options.managed, tool);
  if (managed && !managed->ready()) return kDone;
  Backend& backend = managed ? managed->backend() : *region;
  Mount mount(backend, managed.get(), options.driver, options.device, hooks, tool);

  tool.control().on("status", [&] {
    Json status = mount.status();
    return link.add_to(status);
  });
  tool.control().on("flush", [&] {
    mount.flush();
    return Json().add("flushed", true);
  });
  if (managed) managed->add_words(tool.control());
  mount.announce();
  tool.ready();
  std::vector<std::string> environment{"R3_PATH=" + mount.path()};
  if (options.pass_fd > 0) environment.push_back("R3_FD=" + std::to_string(options.pass_fd));
  const int status = tool.serve_until_stopped(environment, open_for_command(mount, options));
  mount.end();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  MountOptions options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare_mount(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
