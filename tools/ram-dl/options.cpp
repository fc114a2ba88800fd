// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/options.hpp"

#include <sys/swap.h>

#include <stdexcept>

namespace r3 {

namespace {

constexpr unsigned kMostPriority = SWAP_FLAG_PRIO_MASK;
// Newer than some <sys/swap.h> (linux/swap.h).
constexpr int kDiscardOnce = 0x20000;
constexpr int kDiscardPages = 0x40000;

int discard_flags(const std::string& how) {
  if (how == "no") return 0;
  if (how == "once") return SWAP_FLAG_DISCARD | kDiscardOnce;
  if (how == "pages") return SWAP_FLAG_DISCARD | kDiscardPages;
  if (how == "both") return SWAP_FLAG_DISCARD;
  throw std::invalid_argument("--discard: \"" + how + "\": no, once, pages or both is accepted");
}

void check_inspection(const OptionSet& set, const DlOptions& o) {
  for (const char* option : {"--offset", "--length", "--format"})
    if (!o.inspect && set.given(option)) throw std::invalid_argument(std::string(option) + " belongs to --inspect");
  for (const char* option : {"--priority", "--discard", "--driver", "--fallback", "--force"})
    if (o.inspect && set.given(option)) throw std::invalid_argument(std::string(option) + ": not with --inspect");
  if (o.format != "auto" && o.format != "raw" && o.format != "hex")
    throw std::invalid_argument("--format: \"" + o.format + "\": raw or hex is accepted");
}

void check_driver(const std::string& name) {
  if (name == "auto" || name == "ublk" || name == "nbd") return;
  if (name == "fuse" || name == "loop")
    throw std::invalid_argument("--driver: " + name +
                                ": would wait for its own paging; auto, ublk and nbd are accepted");
  throw std::invalid_argument("--driver: \"" + name + "\": auto, ublk or nbd is accepted");
}

}  // namespace

void declare_options(OptionSet& set, DlOptions& o) {
  set.argument("REGION", o.region, "where pages go: see r3tools(7)", OptionSet::Need::optional);
  set.number("--priority", o.priority, 0, kMostPriority, "the higher, the earlier it is used (default: the kernel's choice)");
  set.text("--discard", "HOW", o.discard, "tell the region what is free: no (default), once, pages, both");
  set.text("--fallback", "FILE", o.fallback, "keep a copy in FILE, used while the region is dead");
  set.text("--driver", "NAME", o.driver, "ublk, nbd, or auto: the first that works here");
  set.flag("--force", o.force, "overwrite what is there; end without room for what is out");
  set.flag("--strict", o.strict, "fail where this would only warn");
  set.duration("--grace", o.grace, "at the end, wait TIME for a region that does not answer (default 60s)");
  set.size("--reserve", o.reserve, "memory kept ready for requests (default 64M)");
  set.number("--threads", o.threads, 1, 256, "requests that wait for the region at once (default 32)");
  set.flag("--clean", o.clean, "take away what killed processes left, then exit");
  set.group("Region");
  set.duration("--io-timeout", o.open.io_timeout,
               "I/O fails after an outage of TIME (default: it waits; with --fallback 5s)");
  set.number("--connections", o.open.connections, 1, 64, "to a server that allows several (default 1)");
  set.text("--compress", "HOW", o.compress, "r3: auto (default), yes, no");
  set.text("--key-file", "FILE", o.open.key_file, "r3: our private key, where REGION names none");
  set.text("--psk-file", "FILE", o.open.psk_file, "r3: a pre-shared key, likewise");
  set.flag("--plain", o.open.plain, "r3: without encryption even off the machine");
  set.group("Look only");
  set.flag("--inspect", o.inspect, "print what REGION holds, and do not swap");
  set.size("--offset", o.offset, "from here on (default 0)");
  set.size("--length", o.length, "so much (default: to the end)");
  set.text("--format", "HOW", o.format, "raw or hex (default: hex on a terminal)");
}

void check_options(const OptionSet& set, DlOptions& o) {
  if (o.clean) {
    if (!o.region.empty()) throw std::invalid_argument("--clean stands alone");
    return;
  }
  if (o.region.empty()) throw std::invalid_argument("REGION is missing: see --help");
  o.has_priority = set.given("--priority");
  check_driver(o.driver);
  swap_flags(o);
  check_inspection(set, o);
  const Region region = region_of(o);
  for (const char* here : {"memory", "pattern", "zero"})
    if (!o.inspect && region.scheme == here)
      throw std::invalid_argument("\"" + o.region + "\" is this machine's own memory: that gains nothing");
  if (!o.fallback.empty() && o.open.io_timeout.count() == 0) o.open.io_timeout = std::chrono::seconds(5);
}

Region region_of(const DlOptions& o) {
  if (o.compress != "auto" && o.compress != "yes" && o.compress != "no")
    throw std::invalid_argument("--compress: \"" + o.compress + "\": auto, yes or no is accepted");
  Region region = parse_region(o.region);
  if (o.compress == "auto") return region;
  if (!region.scheme.starts_with("r3"))
    throw std::invalid_argument("--compress: only r3 regions can be compressed on their way");
  region.parameters["compress"] = o.compress;
  return region;
}

std::string identity_of(const std::string& region) { return "ram-dl " + region; }

int swap_flags(const DlOptions& o) {
  int flags = discard_flags(o.discard);
  if (o.has_priority) flags |= SWAP_FLAG_PREFER | static_cast<int>(o.priority);
  return flags;
}

}  // namespace r3
