// SPDX-License-Identifier: Apache-2.0
// nbd-attach: makes any NBD server's export a /dev/nbdN, and keeps it alive.
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"
#include "tools/nbd-attach/attachment.hpp"
#include "tools/nbd-attach/probe.hpp"
#include "tools/nbd-attach/usage.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "nbd-attach", "make an NBD export a block device, and keep it alive",
    "nbd-attach nbd://server/disk                      prints /dev/nbd0\n"
    "nbd-attach unix:/run/disk.sock /dev/nbd3 --run fsck -n /dev/nbd3\n"
    "nbd-attach 'nbd+exec:ssh host nbd-serve - disk.img'\n"
    "nbd-attach --list\n"
    "nbd-attach --detach /dev/nbd0"};

constexpr std::chrono::seconds kPatience{2};  // of a question about a device that may be dead

struct Options {
  std::string target, device, export_name, detach, way = "sysfs";
  bool list = false, force = false;
  AttachmentOptions attachment;
};

void declare(Tool& tool, Options& o) {
  OptionSet& set = tool.options();
  using Need = OptionSet::Need;
  set.argument("TARGET", o.target, "an NBD URI, or the address of a server", Need::optional);
  set.argument("DEVICE", o.device, "/dev/nbdN (default: a free one)", Need::optional);
  set.text("--export", "NAME", o.export_name, "which export, where TARGET is an address");
  set.number("--connections", o.attachment.connections, 1, 16,
             "to a server that allows several (default: one a processor, up to 4)");
  set.size("--block-size", o.attachment.block_size, "512 to 4K (default: the least that the server takes)");
  set.flag("-r,--read-only", o.attachment.read_only, "refuse writes");
  set.duration("--timeout", o.attachment.timeout,
               "a connection that does not answer for TIME is dead (default 30s; 0: never)");
  set.duration("--dead-timeout", o.attachment.dead_timeout,
               "I/O fails after TIME without a connection (default 5m; 0: at once)");
  set.size("--read-ahead", o.attachment.read_ahead, "what the kernel reads ahead at most (default 4M)");
  set.text("--wait", "HOW", o.way, "how to learn that the device is usable: sysfs (polled) or udev (events)");
  set.text("--detach", "DEVICE", o.detach, "flush and end what is attached there");
  set.flag("--force", o.force, "--detach: even if it is in use, without flushing");
  set.flag("--list", o.list, "the devices that are attached, and whether they answer");
  tool.run_option();
}

Json description(const NbdDevice& device) {
  return Json().add("device", device.path()).add("size", device.size).add("pid", device.pid)
      .add("identifier", device.identifier)
      .add("state", to_text(probe_device(device.path(), kPatience)));
}

// Exit status 3 if nothing is attached.
int list(Tool& tool) {
  const auto devices = attached_nbd_devices();
  for (const NbdDevice& device : devices) {
    if (tool.json())
      tool.print(Json().add("event", "device").add_all(description(device)).text());
    else
      tool.print(device.path() + "\t" + std::to_string(device.size) + "\t" +
                 to_text(probe_device(device.path(), kPatience)));
  }
  return devices.empty() ? kNo : kDone;
}

void check_usage(Options& o) {
  if (o.list || !o.detach.empty()) {
    if (!o.target.empty() || (o.list && !o.detach.empty()))
      throw std::invalid_argument("--list and --detach DEVICE stand alone");
    return;
  }
  if (o.target.empty()) throw std::invalid_argument("TARGET is missing: see --help");
  if (o.force) throw std::invalid_argument("--force belongs to --detach DEVICE");
  if (!o.device.empty()) o.attachment.device = parse_nbd_device(o.device);
  o.attachment.way = parse_way(o.way);
}

Json status_of(const Attachment& attachment) {
  return Json().add("path", attachment.path()).add("size", attachment.size())
      .add("connections", std::uint64_t{attachment.connections()})
      .add("dead", std::uint64_t{attachment.dead()}).add("replaced", attachment.replaced())
      .add("adopted", attachment.adopted())
      .add("state", to_text(probe_device(attachment.path(), kPatience)));
}

void announce(Tool& tool, const Attachment& attachment) {
  if (!tool.json() && !tool.runs_command()) tool.print(attachment.path());
  tool.events().send(Json().add("event", "attached").add("path", attachment.path())
                         .add("size", attachment.size()).add("adopted", attachment.adopted()));
}

int attach(Tool& tool, Options& o) {
  const Target target(o.target, o.export_name);
  o.attachment.on_change = [&tool](bool connected) {
    tool.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
  };
  Attachment attachment(target, o.attachment, tool.stop());
  tool.control().on("status", [&] { return status_of(attachment); });
  tool.control().on("flush", [&] {
    flush_device(attachment.path());
    return Json().add("flushed", true);
  });
  announce(tool, attachment);

  TaskGroup keeper;  // goes on while the device is flushed
  std::atomic<bool> taken{false};
  keeper.spawn([&] {
    if (attachment.keep(keeper.stop())) return;
    taken = true;
    tool.stop().request();
  });
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + attachment.path()});
  if (!taken) detach_device(attachment.index(), false);
  keeper.stop().request();
  keeper.join();
  if (taken) fail(ENODEV, attachment.path() + ": somebody else has detached it");
  return status;
}

int work(Tool& tool, Options& o) {
  check_usage(o);
  if (o.list) return list(tool);
  if (o.detach.empty()) return attach(tool, o);
  detach_device(parse_nbd_device(o.detach), o.force);
  return kDone;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare(tool, options); },
                 [&](Tool& tool) { return work(tool, options); });
}
