// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/options.hpp"

#include <sched.h>

#include <algorithm>
#include <set>
#include <stdexcept>

namespace r3::sync {

namespace {

[[noreturn]] void wrong(const std::string& text) { throw std::invalid_argument(text); }

void one_of(const char* option, const std::string& given, std::initializer_list<const char*> accepted) {
  std::string all;
  for (const char* one : accepted) {
    if (given == one) return;
    all += (all.empty() ? "" : ", ") + std::string(one);
  }
  wrong(std::string(option) + " \"" + given + "\": accepted are " + all);
}

unsigned processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) < 0) return 1;
  return static_cast<unsigned>(std::clamp(CPU_COUNT(&set), 1, 8));
}

// Options of the other role are refused: they would do nothing.
void refuse(bool given, const char* option, const char* role) {
  if (given) wrong(std::string(option) + " is for " + role);
}

void check_roles(const Options& o) {
  const bool local = o.command == "send" && o.listen.empty() && !o.arguments.empty() &&
                     o.arguments.back().starts_with("recv:");
  if (o.command != "send") {
    refuse(o.send.dry_run, "--dry-run", "send");
    refuse(o.send.verify, "--verify", "send");
    refuse(o.send.settle > 0, "--settle", "send");
    refuse(o.detect != "auto", "--detect", "send");
    refuse(o.writer > 0, "--writer", "send");
    refuse(!o.pre_command.empty(), "--pre-cmd", "send");
    refuse(!o.post_command.empty(), "--post-cmd", "send");
    refuse(o.send.interval.count() > 0, "--interval", "send");
    refuse(o.send.most_cpu > 0, "--max-cpu", "send");
    refuse(o.chunk != kLeastChunk, "--chunk-size", "send");
  }
  if (o.command != "recv" && !local) {
    refuse(o.journal, "--journal", "recv");
    refuse(o.snapshot, "--snapshot", "recv");
    refuse(o.sparse, "--sparse", "recv");
    refuse(o.fsync != "end", "--fsync", "recv");
    refuse(!o.accept_command.empty(), "--accept", "recv");
    refuse(!o.done_command.empty(), "--on-done", "recv");
  }
  if (o.command == "hub") refuse(o.once, "--once", "send and recv");
}

}  // namespace

void declare(Tool& tool, Options& o) {
  auto& options = tool.options();
  options.argument("COMMAND", o.command, "send, recv or hub");
  options.argument("ARGUMENT", o.arguments, "send [NAME=]FILE... ADDR; recv DIR ADDR; hub ADDR",
                   OptionSet::Need::optional);
  options.texts("-l,--listen", "ADDR", o.listen, "wait for peers there instead of connecting");
  options.flag("--once", o.once, "until the copies are the same, once");
  options.duration("--timeout", o.timeout, "give up after an outage of TIME (default: never)");
  options.text("--compress", "HOW", o.compress, "auto (when it pays), zstd, none");
  options.size("--bwlimit", o.bandwidth, "bytes a second on the wire");
  options.number("--threads", o.threads, 1, 64, "that hash at once (default: processors, 8 at most)");
  options.text("--stats", "FORM", o.stats, "at the end, on stdout: text or json");
  options.number("--max-connections", o.max_connections, 1, 4096, "peers at a time, with --listen (64)");

  options.group("For send");
  options.flag("-n,--dry-run", o.send.dry_run, "compare, change nothing, say what differs");
  options.flag("--verify", o.send.verify, "have the destination hash what it holds after each epoch");
  options.duration("--interval", o.send.interval, "between rounds (default: adaptive, 20ms to 2s)");
  options.number("--max-cpu", o.send.most_cpu, 1, 6400, "of one processor, in percent, for looking");
  options.size("--chunk-size", o.chunk, "4K to 1M, a power of two (4K)");
  options.text("--detect", "HOW", o.detect, "auto, hash, shadow (a copy in memory), pagemap");
  options.number("--writer", o.writer, 1, 4'194'304, "the process whose page map is read");
  options.number("--settle", o.send.settle, 0, 1000, "looks that find no change before an epoch ends");
  options.text("--pre-cmd", "CMD", o.pre_command, "run before each round; no round if it fails");
  options.text("--post-cmd", "CMD", o.post_command, "run after each round's reading");

  options.group("For recv");
  options.flag("--journal", o.journal, "an epoch whole or not at all, whatever happens");
  options.flag("--snapshot", o.snapshot, "each epoch a new file, renamed over the old one");
  options.text("--fsync", "WHEN", o.fsync, "none, round, end");
  options.flag("--sparse", o.sparse, "make holes where the source has zeroes");
  options.text("--accept", "CMD", o.accept_command, "asked before a file is taken; may print its name");
  options.text("--on-done", "CMD", o.done_command, "run for each file when its source is done");

  options.group("Keys");
  options.text("--key-file", "FILE", o.security.key_file, "this side's private key (r3-key gen)");
  options.text("--peer-keys", "FILE", o.security.peer_keys, "peers: KEY NAME ro|rw NAME-GLOB");
  options.text("--psk-file", "FILE", o.security.psk_file, "a pre-shared key (r3-key psk)");
  options.text("--server-key", "KEY", o.security.server_key, "public key of the side that listens");
  options.flag("--plain", o.security.plain, "allow other machines without encryption");
}

void check_usage(Options& o) {
  if (o.command != "send" && o.command != "recv" && o.command != "hub")
    wrong("\"" + o.command + "\" is no command: send, recv and hub are");
  one_of("--compress", o.compress, {"auto", "zstd", "none"});
  one_of("--detect", o.detect, {"auto", "hash", "shadow", "pagemap"});
  one_of("--fsync", o.fsync, {"none", "round", "end"});
  if (!o.stats.empty()) one_of("--stats", o.stats, {"text", "json"});
  if (!acceptable({0, static_cast<std::uint32_t>(std::min<std::uint64_t>(o.chunk, ~0U))}))
    wrong("--chunk-size " + std::to_string(o.chunk) + ": powers of two from 4K to 1M are accepted");
  check_roles(o);
  if (o.journal && o.snapshot) wrong("--journal and --snapshot exclude each other");
  if (o.detect == "pagemap" && o.writer == 0) wrong("--detect pagemap needs --writer");
  if (o.writer > 0 && o.detect != "auto" && o.detect != "pagemap") wrong("--writer needs --detect pagemap");
  address_of(o);
  o.send.once = o.once || o.send.dry_run;
  o.send.chunk = static_cast<std::uint32_t>(o.chunk);
  o.send.writer = static_cast<pid_t>(o.writer);
  o.send.detect = o.writer > 0 ? Detect::pagemap : o.detect == "shadow" ? Detect::shadow : Detect::hash;
  if (o.threads == 0) o.threads = processors();
  o.send.threads = o.threads;
}

Compress compression_of(const Options& o) {
  if (o.compress == "zstd") return Compress::always;
  return o.compress == "none" ? Compress::never : Compress::automatic;
}

DestinationOptions destination_options(const Options& o) {
  DestinationOptions d;
  d.keep = o.journal ? Keep::journal : o.snapshot ? Keep::snapshot : Keep::in_place;
  d.fsync = o.fsync == "none" ? Fsync::none : o.fsync == "round" ? Fsync::round : Fsync::end;
  d.sparse = o.sparse;
  d.threads = o.threads;
  return d;
}

std::vector<SourceSpec> sources_of(const Options& o) {
  std::vector<SourceSpec> sources;
  std::set<std::string> names;
  const auto count = o.arguments.size() - (o.listen.empty() ? 1 : 0);
  for (std::size_t i = 0; i < count; ++i) {
    sources.push_back(parse_source(o.arguments[i]));
    if (!names.insert(sources.back().name).second)
      wrong("two files would be \"" + sources.back().name + "\" there: NAME=FILE gives each its own");
  }
  if (sources.size() > kMostFiles) wrong("more than " + std::to_string(kMostFiles) + " files");
  return sources;
}

std::optional<std::string> address_of(const Options& o) {
  const std::size_t own = o.command == "hub" ? 0 : 1;
  const bool listens = !o.listen.empty();
  const std::size_t given = o.arguments.size(), least = own + (listens ? 0 : 1);
  if (given < least)
    wrong(o.command == "send" ? "send needs [NAME=]FILE... ADDR, or --listen instead of ADDR"
          : own ? "recv needs DIR ADDR, or --listen instead of ADDR" : "hub needs ADDR");
  if (o.command != "send" && given > least) wrong("\"" + o.arguments.back() + "\" is one argument too many");
  if (listens) return std::nullopt;
  return o.arguments.back();
}

}  // namespace r3::sync
