// SPDX-License-Identifier: Apache-2.0
// nbd-attach: makes any NBD server's export a /dev/nbdN, and keeps it alive.
#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/resident.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"
#include "tools/nbd-attach/options.hpp"
#include "tools/nbd-attach/probe.hpp"
#include "tools/nbd-attach/table.hpp"
#include "tools/nbd-attach/usage.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "nbd-attach", "make an NBD export a block device, and keep it alive",
    "nbd-attach nbd://server/disk                      prints /dev/nbd0\n"
    "nbd-attach unix:/run/disk.sock /dev/nbd3 --run fsck -n /dev/nbd3\n"
    "nbd-attach 'nbd+exec:ssh host nbd-serve - disk.img'\n"
    "nbd-attach --table /etc/nbd-attach.tab disk\n"
    "nbd-attach --list\n"
    "nbd-attach --detach /dev/nbd0"};

constexpr std::uint64_t kReserve = 4 * MiB;
constexpr std::chrono::seconds kPatience{2};  // of a question about a device that may be dead

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
                         .add("size", attachment.size()).add("adopted", attachment.adopted())
                         .add("waited", attachment.waited().count()));
}

// Exit status 3 if it names nothing.
int print_names(Tool& tool, const std::string& file) {
  const auto entries = parse_table(read_small_file(file));
  for (const TableEntry& entry : entries) tool.print(entry.name);
  return entries.empty() ? kNo : kDone;
}

int attach(Tool& tool, AttachOptions& o) {
  // Pages do not go through this process, but who dials when their connection is lost must not wait for a page.
  if (o.swap)
    for (const std::string& text : become_resident(kReserve)) log_warning(text);
  const Target target(o.target, o.export_name);
  o.attachment.on_change = [&tool](bool connected) {
    tool.events().send(Json().add("event", connected ? "reconnected" : "disconnected"));
  };
  o.attachment.on_grown = [&tool](std::uint64_t size) {
    tool.events().send(Json().add("event", "resized").add("size", size));
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

int work(Tool& tool, AttachOptions& o) {
  check_options(o);
  if (o.list) return list(tool);
  if (o.detach.empty() && o.target.empty()) return print_names(tool, o.table);
  if (o.detach.empty()) return attach(tool, o);
  detach_device(parse_nbd_device(o.detach), o.force);
  return kDone;
}

}  // namespace

int main(int argc, char** argv) {
  plan_to_be_resident();
  AttachOptions options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) {
    declare_options(tool.options(), options);
    tool.run_option();
  },
                 [&](Tool& tool) { return work(tool, options); });
}
