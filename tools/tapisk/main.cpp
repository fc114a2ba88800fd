// SPDX-License-Identifier: Apache-2.0
// Makes a tape a random-access file or block device: a managed mount over a region on a tape.
#include <stdexcept>

#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/tool.hpp"
#include "tools/r3-mount/mount.hpp"
#include "tools/tapisk/options.hpp"

namespace {

using namespace r3;

constexpr About kAbout{
    "tapisk",
    "Make a tape a random-access file or block device",
    "tapisk --size 100G --index t1.index /dev/nst0 /mnt/tape.img\n"
    "tapisk --size 1G --driver loop backup.tap --run sh -c 'mkfs.ext4 $R3_PATH'\n"
    "tapisk --rebuild --index t1.index /dev/nst0\n"
    "tapisk --compact t2.tap --index t1.index /dev/nst0",
};

std::string text_of(std::uint64_t number) { return std::to_string(number); }

int rebuild(Tool& tool, const TapeChoice& choice) {
  const ReelFound found = rebuild_index(choice);
  if (found.unreadable > 0)
    log_warning(choice.path + ": " + text_of(found.unreadable) + " records cannot be read: their blocks are errors now");
  if (found.unknown > 0)
    log_warning(choice.path + ": " + text_of(found.unknown) + " records cannot be read, and their blocks may be older ones now");
  if (found.cut_off) log_warning(choice.path + ": what follows the last commit was never finished, and is left out");
  tool.events().send(Json().add("event", "rebuilt").add("batches", found.batches).add("records", found.records)
                         .add("unreadable", found.unreadable).add("unknown", found.unknown));
  if (!tool.json())
    tool.print(index_path(choice) + ": " + text_of(found.batches) + " batches, " + text_of(found.records) + " records");
  return kDone;
}

int compact(Tool& tool, const TapiskOptions& options, const TapeChoice& from) {
  TapeChoice to = parse_tape(options.compact);
  to.force = options.force;
  index_path(to);
  const TapeCopied copied = copy_tape(from, to, options.force, [&](const TapeCopied& so_far) {
    if (so_far.blocks % 1024 == 0) tool.events().send(Json().add("event", "progress").add("bytes", so_far.bytes));
    return !tool.stop().requested();
  });
  if (copied.damaged > 0) log_warning(from.path + ": " + text_of(copied.damaged) + " blocks could not be read, and are errors on " + to.path);
  tool.events().send(Json().add("event", "compacted").add("blocks", copied.blocks).add("bytes", copied.bytes)
                         .add("damaged", copied.damaged));
  if (!tool.json()) tool.print(to.path + ": " + text_of(copied.blocks) + " blocks, " + format_size(copied.bytes));
  return kDone;
}

Json status_of(const Mount& mount, const TapeRegion& region) {
  const TapeNumbers tape = region.numbers();
  return mount.status().add("tape_read", tape.read).add("tape_written", tape.written).add("seeks", tape.moves)
      .add("blocks", tape.blocks).add("dead", tape.dead).add("tape_end", tape.end).add("generation", tape.generation);
}

int serve(Tool& tool, TapiskOptions& options) {
  const TapeChoice choice = check_tapisk(options);
  if (options.rebuild) return rebuild(tool, choice);
  if (!options.compact.empty()) return compact(tool, options, choice);
  const auto region = open_tape_region(choice);
  settle_cache(options, choice, *region);
  Hooks hooks({}, options.device.grace);
  Managed managed(*region, region->name_of_region(), options.managed, tool);
  if (!managed.ready()) return kDone;
  Mount mount(managed.backend(), &managed, options.driver, options.device, hooks, tool);
  tool.control().on("status", [&] { return status_of(mount, *region); });
  tool.control().on("flush", [&] {
    mount.flush();
    return Json().add("flushed", true);
  });
  managed.add_words(tool.control());
  mount.announce();
  tool.ready();
  const int status = tool.serve_until_stopped({"R3_PATH=" + mount.path()});
  mount.end();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  TapiskOptions options;
  return r3::run(argc, argv, kAbout, [&](Tool& tool) { declare_tapisk(tool, options); },
                 [&](Tool& tool) { return serve(tool, options); });
}
