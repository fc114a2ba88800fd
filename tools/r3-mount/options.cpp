// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/options.hpp"

#include <stdexcept>

#include "tools/r3-mount/owner.hpp"

namespace r3 {

void declare_mount(Tool& tool, MountOptions& options) {
  OptionSet& set = tool.options();
  set.argument("REGION", options.region, "the bytes: see r3tools(7)", OptionSet::Need::optional);
  set.argument("PATH", options.device.path, "where to show them (default: made and printed)",
               OptionSet::Need::optional);
  set.flag("--direct", options.direct, "every read and write goes to the region itself");
  set.text("--driver", "NAME", options.driver, "fuse (a file; default), ublk, nbd, loop (block devices), auto");
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
  set.number("--pass-fd", options.pass_fd, 3, 1023, "give CMD an open descriptor N of it, R3_FD");
  declare_hooks(set, options.hooks);
  declare_managed(set, options.managed);
}

void check_mount(MountOptions& options) {
  if (options.region.empty()) throw std::invalid_argument("REGION is missing: see --help");
  check_managed(options.managed);
  if (options.direct && options.managed.on_disk())
    throw std::invalid_argument("--cache: a direct mount has none");
  if (options.direct && options.managed.ordered())
    throw std::invalid_argument("--pull-order, --record, --replay: a direct mount pulls nothing");
  if (options.direct && !options.hooks.before_sync.empty())
    throw std::invalid_argument("--before-sync: a direct mount pushes nothing");
  if (options.direct && (options.managed.verify || options.managed.local_events))
    throw std::invalid_argument("--verify, --local-events: a direct mount keeps nothing");
  const Owner owner = options.owner.empty() ? Owner{} : parse_owner(options.owner);
  options.device.owner = owner.user;
  options.device.group = owner.group;
  options.device.mode = parse_mode(options.mode);
  // The kernel's own guess brings 1 MiB around each page of a mapping; what is read in order is seen by the plan.
  if (!options.direct && options.managed.no_pull) options.device.read_ahead = 64 * KiB;
}

}  // namespace r3
