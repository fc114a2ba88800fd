// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/options.hpp"

#include <algorithm>
#include <stdexcept>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/sizes.hpp"
#include "tools/nbd-attach/table.hpp"

namespace r3 {

namespace {

void take(AttachOptions& o, const std::string& name, const std::string& value) {
  AttachmentOptions& a = o.attachment;
  if (name == "device") o.device = value;
  else if (name == "export") o.export_name = value;
  else if (name == "wait") o.way = value;
  else if (name == "connections") a.connections = static_cast<unsigned>(parse_number(value, 16));
  else if (name == "block-size") a.block_size = parse_size(value);
  else if (name == "read-ahead") a.read_ahead = parse_size(value);
  else if (name == "timeout") a.timeout = parse_duration(value);
  else if (name == "dead-timeout") a.dead_timeout = parse_duration(value);
  else if (!value.empty()) throw std::invalid_argument("is no option with a value");
  else if (name == "read-only") a.read_only = true;
  else if (name == "grow") a.grow = true;
  else if (name == "swap") o.swap = true;
  else throw std::invalid_argument("is no option for a table");
}

// The options of the command line come first in time: those of the line win.
void take_line(AttachOptions& o) {
  const std::string name = o.target;
  std::vector<TableEntry> entries;
  try {
    entries = parse_table(read_small_file(o.table));
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(o.table + ": " + error.what());
  }
  const auto entry = std::find_if(entries.begin(), entries.end(), [&](const TableEntry& e) { return e.name == name; });
  if (entry == entries.end()) throw std::invalid_argument(o.table + ": has no line \"" + name + "\"");
  o.target = entry->target;
  for (const auto& [option, value] : entry->options) {
    try {
      take(o, option, value);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(o.table + ": " + name + ": " + option + ": " + error.what());
    }
  }
}

}  // namespace

void declare_options(OptionSet& set, AttachOptions& o) {
  using Need = OptionSet::Need;
  set.argument("TARGET", o.target, "an NBD URI, or the address of a server", Need::optional);
  set.argument("DEVICE", o.device, "/dev/nbdN (default: a free one)", Need::optional);
  set.text("--export", "NAME", o.export_name, "which export, where TARGET is an address");
  set.number("--connections", o.attachment.connections, 1, 16,
             "to a server that allows several (default: one a processor, up to 4)");
  set.size("--block-size", o.attachment.block_size, "512 to 4K (default: the least that the server takes)");
  set.flag("-r,--read-only", o.attachment.read_only, "refuse writes");
  set.flag("--grow", o.attachment.grow, "take a server that comes back with more bytes");
  set.flag("--swap", o.swap, "the device is to hold swap: keep this process in memory");
  set.duration("--timeout", o.attachment.timeout,
               "a connection that does not answer for TIME is dead (default 30s; 0: never)");
  set.duration("--dead-timeout", o.attachment.dead_timeout,
               "I/O fails after TIME without a connection (default 5m; 0: at once)");
  set.size("--read-ahead", o.attachment.read_ahead, "what the kernel reads ahead at most (default 4M)");
  set.text("--wait", "HOW", o.way, "how to learn that the device is usable: sysfs (polled) or udev (events)");
  set.text("--table", "FILE", o.table, "TARGET is the name of a line in FILE; without it, print the names");
  set.text("--detach", "DEVICE", o.detach, "flush and end what is attached there");
  set.flag("--force", o.force, "--detach: even if it is in use, without flushing");
  set.flag("--list", o.list, "the devices that are attached, and whether they answer");
}

void check_options(AttachOptions& o) {
  if (o.list || !o.detach.empty()) {
    if (!o.target.empty() || !o.table.empty() || (o.list && !o.detach.empty()))
      throw std::invalid_argument("--list and --detach DEVICE stand alone");
    return;
  }
  if (o.force) throw std::invalid_argument("--force belongs to --detach DEVICE");
  if (o.target.empty() && !o.table.empty()) return;
  if (o.target.empty()) throw std::invalid_argument("TARGET is missing: see --help");
  if (!o.table.empty()) take_line(o);
  if (!o.device.empty()) o.attachment.device = parse_nbd_device(o.device);
  o.attachment.way = parse_way(o.way);
}

}  // namespace r3
