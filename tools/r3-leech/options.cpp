// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-leech/options.hpp"

#include <fcntl.h>

#include <stdexcept>

namespace r3 {

void declare_leech(Tool& tool, LeechOptions& o) {
  OptionSet& set = tool.options();
  set.argument("REGION", o.remote, "what an r3-seed offers: r3://HOST/");
  set.argument("LOCAL", o.local, "the region here that becomes it, of the same size");
  set.argument("PATH", o.device.path, "where the application finds it (default: made and printed)",
               OptionSet::Need::optional);
  set.text("--driver", "NAME", o.driver, "fuse (a file, default), ublk, nbd, loop (block devices), auto, none");
  set.text("--state", "FILE", o.state, "who owns LOCAL is kept there (default: LOCAL.r3-owner)");
  set.group("When it moves");
  set.text("--finalize", "WHEN", o.finalize, "auto (default): when it costs little; ask: on the control word");
  set.number("--finalize-at", o.finalize_at, 1, 100, "when so many percent have been pulled");
  set.number("--finalize-fd", o.finalize_fd, 3, 1023, "when something can be read from descriptor N");
  set.duration("--max-downtime", o.max_downtime, "auto: what may cost little means (default 300ms)");
  set.duration("--max-time", o.max_time, "auto: wait no longer for that (default 0s: as long as it gets better)");
  set.duration("--quiet-wait", o.quiet_wait,
               "auto: wait at most that long for the application to write little (default 5s)");
  set.text("--on-timeout", "WHAT", o.on_timeout, "then postcopy (default), force or cancel");
  set.duration("--lease", o.lease, "how long the seeder waits for this side (default 10s)");
  set.text("--on-resume", "CMD", o.on_resume, "start the application: the region is here");
  set.duration("--hook-timeout", o.hook_timeout, "how long each CMD may take (default 10s)");
  set.group("How it is pulled");
  set.text("--pull-order", "ORDER", o.order.order,
           "auto (default), sequential, reverse, ext4, sqlite, mp4, elf, script, disk, a FILE of ranges or "
           "exec:COMMAND");
  set.text("--record", "FILE", o.order.record, "write down what is read, in order");
  set.text("--replay", "FILE", o.order.replay, "pull what was recorded first");
  set.number("--pull-workers", o.pull_workers, 1, 256, "requests in flight, at most (default 128)");
  set.size("--pull-rate", o.pull_rate, "pull at most SIZE a second (default: no limit)");
  set.number("--connections", o.open.connections, 1, 64, "connections to the seeder (default 1)");
  set.group("The next move");
  set.texts("--seed-on", "ADDR", o.seed_on, "when all is here, offer it to leechers there, as r3-seed");
  set.text("--on-suspend", "CMD", o.on_suspend, "as r3-seed's");
  set.text("--on-stop", "CMD", o.on_stop, "as r3-seed's");
  set.text("--key-file", "FILE", o.access.key_file, "this side's private key (r3-key gen)");
  set.text("--peer-keys", "FILE", o.access.peer_keys, "leechers: KEY NAME rw EXPORT-GLOB");
  set.text("--psk-file", "FILE", o.access.psk_file, "a pre-shared key (r3-key psk)");
  set.flag("--plain", o.access.plain, "without encryption, from and to other machines");
  set.group("Device");
  set.duration("--grace", o.device.grace, "how long to wait at the end for users (default 30s)");
  set.flag("--force", o.device.force, "hide a file that is not empty; take LOCAL though it is another's");
}

OnTimeout LeechOptions::timeout_policy() const {
  if (on_timeout == "cancel") return OnTimeout::cancel;
  if (on_timeout == "force") return OnTimeout::force;
  if (on_timeout == "postcopy") return OnTimeout::postcopy;
  throw std::invalid_argument("--on-timeout: '" + on_timeout + "': postcopy, force or cancel is accepted");
}

std::string LeechOptions::state_file() const {
  if (!state.empty()) return state;
  const Region region = parse_region(local);
  return region.scheme == "file" ? region.rest + ".r3-owner" : "";
}

void check_leech(const LeechOptions& options) {
  options.timeout_policy();
  if (options.finalize != "auto" && options.finalize != "ask")
    throw std::invalid_argument("--finalize: '" + options.finalize + "': auto or ask is accepted");
  if (options.finalize_fd > 0 && ::fcntl(static_cast<int>(options.finalize_fd), F_GETFD) < 0)
    throw std::invalid_argument("--finalize-fd: descriptor " + std::to_string(options.finalize_fd) + " is not open");
  check_pull_order(options.order.order);
  if (!options.seed_on.empty()) check_seed_access(options.access, options.seed_on);
  const Region remote = parse_region(options.remote);
  if (!remote.scheme.starts_with("r3"))
    throw std::invalid_argument("\"" + options.remote + "\" is no r3 region: only an r3-seed can be leeched from");
}

}  // namespace r3
