// SPDX-License-Identifier: Apache-2.0
// r3-seed: holds a region that an application uses, and hands it to a leecher.
#include <poll.h>

#include "libcommon/base/log.hpp"
#include "libcommon/cli/hook.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/device/driver.hpp"
#include "libcommon/device/own_device.hpp"
#include "libcommon/net/region.hpp"
#include "libcommon/net/seed_server.hpp"

namespace {

using namespace r3;
using std::chrono::milliseconds;

// How long other leechers have to hear that the region is not to be had any more.
constexpr std::chrono::seconds kFarewell{2};

constexpr About kAbout{
    "r3-seed",
    "Hold a region that an application uses, and hand it to a leecher",
    "r3-seed /srv/state.img /run/state -l unix:/run/seed.sock\n"
    "r3-seed disk.img /run/disk -l tcp://[::]:10833 --psk-file psk \\\n"
    "  --on-suspend 'systemctl stop app' --on-resume 'systemctl start app'\n"
    "r3-seed --driver none image -l unix:/run/seed.sock",
};

struct Options {
  std::string region, driver = "fuse", state, on_suspend, on_resume, on_stop;
  std::vector<std::string> listen;
  DeviceOptions device;
  SeedAccess access;
  milliseconds hook_timeout{10'000}, lease{30'000};
};

void declare(Tool& tool, Options& o) {
  OptionSet& set = tool.options();
  set.argument("REGION", o.region, "the bytes: see r3tools(7)");
  set.argument("PATH", o.device.path, "where the application finds them (default: made and printed)",
               OptionSet::Need::optional);
  set.texts("-l,--listen", "ADDR", o.listen, "where leechers connect (tcp://localhost:10833)");
  set.text("--driver", "NAME", o.driver, "fuse (a file, default), ublk, nbd, loop (block devices), auto, none");
  set.text("--state", "FILE", o.state, "who owns the region is kept there (default: REGION.r3-owner)");
  set.text("--on-suspend", "CMD", o.on_suspend, "stop the application's writes, before it is moved");
  set.text("--on-resume", "CMD", o.on_resume, "let it go on here: it was not moved");
  set.text("--on-stop", "CMD", o.on_stop, "it was moved, and the leecher has all");
  set.duration("--hook-timeout", o.hook_timeout, "how long each CMD may take (default 10s)");
  set.duration("--lease", o.lease, "how long the application may stand still, at most (default 30s)");
  set.text("--key-file", "FILE", o.access.key_file, "this side's private key (r3-key gen)");
  set.text("--peer-keys", "FILE", o.access.peer_keys, "leechers: KEY NAME rw EXPORT-GLOB");
  set.text("--psk-file", "FILE", o.access.psk_file, "a pre-shared key (r3-key psk)");
  set.flag("--plain", o.access.plain, "allow leechers without encryption from other machines");
  set.duration("--grace", o.device.grace, "how long to wait at the end for users (default 30s)");
  set.flag("--force", o.device.force, "hide a file that is not empty");
}

std::string state_file(const Options& o, const Region& region) {
  if (!o.state.empty()) return o.state;
  return region.scheme == "file" ? region.rest + ".r3-owner" : "";
}

int serve(Tool& tool, Options& o) {
  if (o.listen.empty()) o.listen.push_back("tcp://localhost:10833");
  check_seed_access(o.access, o.listen);
  const Region named = parse_region(o.region);
  RegionOptions open;
  open.stop = &tool.stop();
  const std::unique_ptr<Backend> region = open_region(named, open);
  const OwnerFile file(state_file(o, named));
  Tracked tracked(*region);
  Lockable lock(tracked);
  std::unique_ptr<Device> device;

  const auto hook = [&](const char* option, const std::string& command) {
    run_hook({option, command}, {"R3_PATH=" + (device ? device->path() : std::string())}, o.hook_timeout);
  };
  const auto hook_or_warn = [&](const char* option, const std::string& command) {
    try {
      hook(option, command);
    } catch (const std::exception& error) {
      log_error(error.what());
    }
  };
  SeederActions actions;
  actions.suspend = [&] { hook("--on-suspend", o.on_suspend); };
  actions.resume = [&] { if (device) hook_or_warn("--on-resume", o.on_resume); };
  actions.sync_device = [&] { if (device) device->flush(); };
  actions.tell = [&](const std::string& event, const std::string& why) {
    Json json;
    json.add("event", event);
    tool.events().send(why.empty() ? json : json.add("why", why));
  };
  const auto found = file.read();
  const bool given = found && found->state == OwnerRecord::State::given;
  const bool was_suspended = found && found->state == OwnerRecord::State::suspended;
  Seeder seeder(lock, tracked, *region, file, actions, o.lease);
  if (given) {
    log_warning("the region was given to a leecher, which does not have all of it yet: it is only read from here");
  } else if (o.driver != "none") {
    o.device.on_ended = [&tool] { tool.stop().request(); };
    device = attach_device(o.driver, lock, o.device);
    if (!tool.json()) tool.print(device->path());
    tool.events().send(Json().add("event", "attached").add("path", device->path()).add("size", region->size()));
    if (was_suspended) actions.resume();
  }
  SeedServer server(*region, seeder, named.scheme == "memory", o.access, o.listen);
  for (const auto& address : server.addresses())
    tool.events().send(Json().add("event", "listening").add("address", address));
  tool.on_hang_up([&] { server.set_access(o.access); });
  tool.control().on("status", [&] {
    return Json().add("size", region->size()).add("path", device ? device->path() : "")
        .add("phase", seeder.phase_text()).add("leechers", std::uint64_t{seeder.leechers()})
        .add("bytes_read", server.counters().bytes_read.load());
  });
  TaskGroup ender;
  ender.spawn([&] {
    if (wait_for(seeder.gone().fd(), POLLIN, ender.stop()) != Wait::ready) return;
    seeder.wait_until_told(kFarewell, ender.stop());
    tool.stop().request();
  });
  tool.ready();
  const int status = tool.serve_until_stopped({});
  tool.on_hang_up({});
  seeder.end();
  if (seeder.phase() == Seeder::Phase::gone) hook_or_warn("--on-stop", o.on_stop);
  if (seeder.phase() == Seeder::Phase::given)
    log_warning("the leecher does not have all yet: start r3-seed again, or what it lacks is lost");
  if (device) device->detach();
  if (seeder.phase() == Seeder::Phase::seeding) region->flush();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
