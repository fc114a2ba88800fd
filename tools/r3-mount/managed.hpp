// SPDX-License-Identifier: Apache-2.0
// The managed mount: what stands between the device and the region unless --direct is given, put together
// as the options say, and what can be asked about it. Knows nothing of devices.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/tool.hpp"
#include "libcommon/net/pull_plan.hpp"
#include "libcommon/storage/cached.hpp"
#include "tools/r3-mount/cache_file.hpp"

namespace r3 {

struct ManagedOptions {
  std::string cache = "memory";  // or a file
  bool on_disk() const { return cache != "memory"; }
  bool ordered() const {
    return order.order != "auto" || !order.record.empty() || !order.replay.empty();
  }
  bool push_anyway = false;
  std::uint64_t chunk_size = 0;  // 0: chosen
  std::uint64_t cache_size = 0;  // 0: chosen
  std::string sync = "remote";
  PullPlanOptions order;
  bool no_pull = false;
  bool pull_first = false;
  unsigned pull_workers = 16;
  std::uint64_t pull_rate = 0;
  unsigned push_workers = 32;
  std::chrono::milliseconds push_interval{5000};
  std::uint64_t push_soon = 64 * MiB;  // changed bytes that are pushed without waiting for it
  bool verify = false;
  bool local_events = false;
  std::function<void()> before_sync = {};  // what it throws ends the push
};

void declare_managed(OptionSet& set, ManagedOptions& options);
// Throws std::invalid_argument, before anything is opened.
void check_managed(const ManagedOptions& options);

class Managed {
 public:
  // Takes up the cache, starts to pull at once; borrows the region, whose name is `name`.
  Managed(Backend& region, const std::string& name, const ManagedOptions& options, Tool& tool);
  ~Managed();

  Backend& backend() { return *cached_; }
  // With --pull-first: waits for it. False if the tool is to stop.
  bool ready();
  void add_words(Control& control);
  Json status() const;
  std::uint64_t unpushed() const { return cached_->numbers().dirty; }
  // What a user has to know who leaves now.
  std::string last_words() const;

  // Everything that was written is durable on the region.
  void push() { cached_->push(); }
  // From now on flush() means the region itself; pushes what is dirty, as long as something moves at least
  // every `patience`, else gives the region up.
  void push_at_end(std::chrono::milliseconds patience) noexcept;
  // Saves the recording. Throws if something was not pushed, with how much and where it is.
  void close();

 private:
  void follow_hints();
  Json verify();
  void verify_when_pulled();

  Tool& tool_;
  Backend& region_;
  const std::string name_;
  const bool pull_first_;
  std::unique_ptr<CacheFile> file_;       // none: in memory
  std::unique_ptr<MemoryStore> memory_;
  PullPlan plan_;
  std::unique_ptr<Cached> cached_;
  TaskGroup hints_;  // last: its threads use the above
};

}  // namespace r3
