// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/managed.hpp"

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/pull_options.hpp"
#include "libcommon/device/watchdog.hpp"
#include "libcommon/net/r3_client.hpp"
#include "tools/r3-mount/compare.hpp"

namespace r3 {
namespace {

constexpr std::uint64_t kLeastChunk = 4 * KiB;
constexpr std::uint64_t kMostChunk = 1 * MiB;
constexpr std::uint64_t kReadAhead = 16 * MiB;  // what a link of 10 Gbit/s holds in 13 ms

CachedSync parse_sync(const std::string& text) {
  if (text == "remote") return CachedSync::remote;
  if (text == "local") return CachedSync::local;
  if (text == "none") return CachedSync::none;
  throw std::invalid_argument("--sync: '" + text + "': remote, local or none is accepted");
}

std::uint64_t half_of_memory() {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) / 2 *
         static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::uint64_t chunk_for(const Backend& region, const ManagedOptions& options) {
  if (options.chunk_size != 0) return options.chunk_size;
  return std::clamp(region.block_size(), kLeastChunk, kMostChunk);
}

PullPlanOptions plan_options(const ManagedOptions& options) {
  PullPlanOptions plan = options.order;
  plan.read_ahead = kReadAhead;
  plan.rest = !options.no_pull;
  if (options.no_pull && plan.order == "auto") plan.order = "sequential";  // no hints that nobody asked for
  return plan;
}

CachedOptions cached_options(const Backend& region, const ManagedOptions& options, Tool& tool) {
  CachedOptions cached;
  cached.chunk = chunk_for(region, options);
  cached.capacity = options.cache_size != 0    ? options.cache_size
                    : !options.on_disk() ? half_of_memory()
                                            : ~0ULL;
  cached.sync = parse_sync(options.sync);
  cached.pull.workers = options.pull_workers;
  cached.pull.rate = options.pull_rate;
  cached.pull.on_complete = [&tool] { tool.events().send(Json().add("event", "pulled")); };
  cached.push.workers = options.push_workers;
  cached.push.interval = options.push_interval;
  cached.push.soon = options.push_soon;
  cached.push.before_seal = options.before_sync;
  if (options.local_events)
    cached.on_local = [&tool](std::uint64_t offset, std::uint64_t length) {
      tool.events().send(Json().add("event", "local").add("offset", offset).add("length", length));
    };
  cached.push.soon = std::min(cached.push.soon, cached.capacity / 4);
  return cached;
}

}  // namespace

void declare_managed(OptionSet& set, ManagedOptions& options) {
  set.group("Managed mount");
  set.text("--cache", "FILE", options.cache,
           "keep what is here in FILE, for the next start too (default: memory)");
  set.size("--cache-size", options.cache_size,
           "keep at most SIZE here (default: half of the memory; FILE: all)");
  set.flag("--push-anyway", options.push_anyway,
           "push FILE's writes over a region that was changed meanwhile");
  set.size("--chunk-size", options.chunk_size, "keep pieces of SIZE (default 4K, or the region's own)");
  set.text("--sync", "WHERE", options.sync, "what fsync promises: remote (default), local or none");
  declare_pull_order(set, options.order);
  set.flag("--no-pull", options.no_pull,
           "fetch only what is read, and ahead of it, and what an order names");
  set.flag("--pull-first", options.pull_first, "be ready only when everything is here");
  set.number("--pull-workers", options.pull_workers, 1, 256,
             "requests in flight while pulling, at most (default 16)");
  set.size("--pull-rate", options.pull_rate, "pull at most SIZE a second (default: no limit)");
  set.number("--push-workers", options.push_workers, 1, 256,
             "writes in flight while pushing, at most (default 32)");
  set.duration("--push-interval", options.push_interval,
               "push what was written at least every TIME (default 5s; 0s: when asked)");
  set.flag("--verify", options.verify, "when all is pulled, compare it with the region");
  set.flag("--local-events", options.local_events, "an event for each range that has come");
}

void check_managed(const ManagedOptions& options) {
  check_pull_order(options.order.order);
  if (parse_sync(options.sync) == CachedSync::local && !options.on_disk())
    throw std::invalid_argument("--sync: local needs --cache FILE: memory keeps nothing");
  const auto chunk = options.chunk_size;
  if (chunk != 0 && (!std::has_single_bit(chunk) || chunk < kLeastChunk || chunk > kMostChunk))
    throw std::invalid_argument("--chunk-size: " + std::to_string(chunk) +
                                ": a power of two from 4K to 1M is accepted");
  if (options.cache_size != 0 && options.cache_size < 16 * MiB)
    throw std::invalid_argument("--cache-size: " + std::to_string(options.cache_size) +
                                ": at least 16M is accepted");
  if (options.cache_size != 0 && chunk > 64 * KiB && options.cache_size < 2 * ChunkMap::kGroup * chunk)
    throw std::invalid_argument("--cache-size: at least 512 chunks have to fit");
  if (options.no_pull && options.pull_first)
    throw std::invalid_argument("--pull-first: not together with --no-pull");
}

Managed::Managed(Backend& region, const std::string& name, const ManagedOptions& options, Tool& tool)
    : tool_(tool),
      region_(region),
      name_(name),
      pull_first_(options.pull_first),
      plan_(plan_options(options), region.size(), tool.stop()) {
  const CachedOptions cached = cached_options(region, options, tool);
  if (options.on_disk())
    file_ = std::make_unique<CacheFile>(options.cache, name, region, cached.chunk, options.push_anyway);
  else
    memory_ = std::make_unique<MemoryStore>(region.size(), cached.chunk);
  CacheStore& store = file_ ? file_->store() : *memory_;
  cached_ = std::make_unique<Cached>(region, store, plan_, cached);
  if (file_) file_->keep_durable();
  if (plan_.wants_hints()) hints_.spawn([this] { follow_hints(); });
  if (options.verify) hints_.spawn([this] { verify_when_pulled(); });
}

// The hints' thread may wait for the region.
Managed::~Managed() {
  if (cached_) cached_->abandon();
}

// Through the cache, so that what is looked at crosses the link once.
void Managed::follow_hints() {
  try {
    const std::string_view found = plan_.follow_hints(*cached_, hints_.stop());
    if (!found.empty()) log_debug("pull order: the content is of the kind " + std::string(found));
  } catch (const std::system_error& error) {
    log_debug("pull order: " + std::string(error.what()));
  }
}

Json Managed::verify() {
  const Verified found = r3::verify(*cached_, region_, tool_.stop());
  if (found.differing > 0)
    log_warning(name_ + ": " + std::to_string(found.differing) +
                " chunks here were not what it has, and are fetched again: somebody else writes to it, or a "
                "disk or memory is bad");
  Json json;
  if (!found.whole) json.add("answer", "no");
  return json.add("compared", found.compared).add("differing", found.differing);
}

void Managed::verify_when_pulled() {
  try {
    if (!cached_->wait_until_pulled(hints_.stop())) return;
    tool_.events().send(Json().add("event", "verified").add_all(verify()));
  } catch (const std::system_error& error) {
    if (!hints_.stop().requested()) log_warning("--verify: " + std::string(error.what()));
  }
}

bool Managed::ready() {
  return !pull_first_ || cached_->wait_until_pulled(tool_.stop());
}

void Managed::add_words(Control& control) {
  control.on("wait-clean", [this] {
    const bool clean = cached_->wait_until_clean(tool_.stop());
    if (!clean) return Json().add("answer", "no").add("dirty", unpushed());
    return Json().add("clean", true);
  });
  control.on("verify", [this] { return verify(); });
}

Json Managed::status() const {
  const CachedNumbers now = cached_->numbers();
  double round_trip = now.pull.round_trip;
  if (const auto* r3 = dynamic_cast<R3Client*>(&region_); r3 && round_trip == 0)
    round_trip = std::chrono::duration<double>(r3->round_trip()).count();
  Json json;
  json.add("present", now.present).add("dirty", now.dirty).add("in_flight", now.in_flight)
      .add("missed", now.missed).add("evicted", now.evicted).add("pulled", now.pull.pulled)
      .add("pull_complete", now.complete).add("pull_rate", now.pull.rate)
      .add("round_trip", round_trip).add("window", now.pull.window)
      .add("pushed", now.push.pushed).add("epochs", now.push.epochs)
      .add("last_error", now.last_error)
      .add("cache_error", now.cache_error == 0 ? "" : std::strerror(now.cache_error));
  return json;
}

void Managed::push_at_end(std::chrono::milliseconds patience) noexcept {
  cached_->promise(CachedSync::remote);
  const Watchdog watchdog(
      patience, [this] { return cached_->numbers().push.pushed; },
      [this, patience] { give_up(*cached_, patience); });
  try {
    cached_->push();
  } catch (...) {
    log_error(text_of_current_exception());
  }
}

std::string Managed::last_words() const {
  const auto left = unpushed();
  if (left == 0) return "everything that was written is at " + name_;
  const auto text = std::to_string(left) + " bytes were not written to " + name_;
  if (!file_) return text;
  if (file_->store().error() != 0) return text + "; the disk of " + file_->path() + " failed";
  return text + "; they are in " + file_->path() + ", the next start pushes them";
}

void Managed::close() {
  const auto left = unpushed();
  const auto text = last_words();
  cached_->abandon();
  if (file_) file_->close();
  try {
    plan_.save_recording();
  } catch (const std::system_error& error) {
    if (left == 0) throw;
    log_error(error.what());
  }
  if (left > 0) fail(EIO, text);
}

}  // namespace r3
