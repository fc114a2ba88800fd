// SPDX-License-Identifier: Apache-2.0
#include "tools/tapisk/options.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/storage/cached_map.hpp"
#include "tools/r3-mount/owner.hpp"

namespace r3 {

namespace {

constexpr std::chrono::minutes kPushInterval{5};
constexpr std::chrono::minutes kGrace{10};          // a tape may have to be wound twice
constexpr std::uint64_t kPushSoon = 4 * GiB;        // changed bytes that need not wait for the interval
constexpr std::string_view kIndexEnd = ".index";

// Half of what its disk has left, with what it takes already.
std::uint64_t room_for(const std::string& cache) {
  const auto parent = std::filesystem::absolute(cache).parent_path();
  struct statvfs disk {};
  check(::statvfs(parent.c_str(), &disk), parent.string());
  struct stat file {};
  const bool there = ::stat(cache.c_str(), &file) == 0;
  const auto taken = there ? static_cast<std::uint64_t>(file.st_blocks) * 512 : 0;
  return (static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize + taken) / 2;
}

std::string beside(std::string index) {
  if (index.ends_with(kIndexEnd)) index.resize(index.size() - kIndexEnd.size());
  return index + ".cache";
}

}  // namespace

void declare_tapisk(Tool& tool, TapiskOptions& options) {
  OptionSet& set = tool.options();
  options.managed.cache.clear();
  options.managed.push_interval = kPushInterval;
  options.managed.push_workers = 1;
  options.managed.pull_workers = 2;
  options.device.grace = kGrace;
  set.argument("DEVICE", options.tape, "a drive (/dev/nst0), a tape in a file, or tape:PATH?...");
  set.argument("PATH", options.device.path, "where to show it (default: made and printed)",
               OptionSet::Need::optional);
  set.size("--size", options.size, "begin a blank tape with a region of SIZE");
  set.size("--chunk-size", options.managed.chunk_size, "its blocks, 4K to 1M (default 256K)");
  set.parsed("--tape-block", "SIZE", "fixed blocks of the tape, or 0: variable (default: the drive's)",
             [&options](const std::string& text) { options.block = parse_tape_block(text); });
  set.text("--index", "FILE", options.index, "where each block is on the tape (default for a file: DEVICE.index)");
  set.flag("--rebuild", options.rebuild, "make the index anew from the tape alone, and end");
  set.text("--compact", "TARGET", options.compact, "copy what counts to another tape, and end");
  set.flag("-r,--read-only", options.device.read_only, "refuse writes; a write-protected tape needs it");
  set.flag("--force", options.force, "overwrite a tape that has something else; take damaged ones as they are");
  set.text("--driver", "NAME", options.driver, "fuse (a file; default), ublk, nbd, loop (block devices), auto");
  set.text("--mode", "OCTAL", options.mode, "permissions (default 0600)");
  set.text("--owner", "USER[:GROUP]", options.owner, "who owns it (default: who runs this)");
  set.duration("--grace", options.device.grace, "how long to wait at the end for users and the tape (default 10m)");
  tool.run_option();
  set.group("Cache");
  set.text("--cache", "FILE", options.managed.cache, "where blocks are kept (default: beside the index); memory");
  set.size("--cache-size", options.managed.cache_size, "keep at most SIZE (default: half of the room there)");
  set.text("--sync", "WHERE", options.sync, "what fsync promises: local (default), remote (the tape) or none");
  set.duration("--push-interval", options.managed.push_interval,
               "write to the tape at least every TIME (default 5m; 0s: when asked)");
  set.flag("--push-anyway", options.managed.push_anyway, "write FILE's changes over a tape that was changed meanwhile");
  set.flag("--no-pull", options.managed.no_pull, "read only what is asked for, and ahead of it");
  set.flag("--pull-first", options.managed.pull_first, "be ready only when all is read");
}

TapeChoice check_tapisk(TapiskOptions& options) {
  TapeChoice choice = parse_tape(options.tape);
  if (!options.index.empty()) choice.index = options.index;
  if (options.size != 0) choice.size = options.size;
  if (options.block) choice.block = options.block;
  if (options.managed.chunk_size != 0) choice.chunk = options.managed.chunk_size;
  choice.read_only = options.device.read_only;
  choice.force = options.force;
  if (options.rebuild && !options.compact.empty()) throw std::invalid_argument("--compact: not together with --rebuild");
  if (options.managed.cache.empty()) options.managed.cache = beside(index_path(choice));
  options.managed.sync = !options.sync.empty() ? options.sync : options.managed.on_disk() ? "local" : "remote";
  options.managed.push_soon = kPushSoon;
  check_managed(options.managed);
  const Owner owner = options.owner.empty() ? Owner{} : parse_owner(options.owner);
  options.device.owner = owner.user;
  options.device.group = owner.group;
  options.device.mode = parse_mode(options.mode);
  return choice;
}

void settle_cache(TapiskOptions& options, const TapeChoice& choice, const TapeRegion& region) {
  ManagedOptions& managed = options.managed;
  managed.chunk_size = region.label().chunk;
  managed.order.order = "sequential";
  managed.order.named = region.in_tape_order();
  if (managed.on_disk() && managed.cache_size == 0) {
    const auto room = std::max(room_for(managed.cache), 2 * ChunkMap::kGroup * managed.chunk_size);
    if (room < region.size()) managed.cache_size = room;
  }
  options.device.read_only |= region.read_only();
  // Who was killed is taken over from: the bytes are in the cache.
  if (managed.on_disk())
    options.device.identity = "tapisk\n" + std::filesystem::absolute(index_path(choice)).string() + "\n" + options.device.path;
}

}  // namespace r3
