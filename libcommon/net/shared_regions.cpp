// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/shared_regions.hpp"

#include "libcommon/base/error.hpp"
#include "libcommon/base/tasks.hpp"

namespace r3 {

namespace {

void flush_named(Backend& region, const std::string& name) {
  try {
    region.flush();
  } catch (const std::system_error& error) {
    fail(error.code().value(), name + ": what was written may be lost");
  }
}

}  // namespace

Backend& SharedRegions::open(const Region& region, const RegionOptions& options) {
  if (!open_files_) open_files_ = std::make_shared<OpenFiles>();
  RegionOptions how = options;
  how.open_files = open_files_;
  auto backend = open_region(region, how);
  FlushDue* changed = nullptr;
  if (!backend->never_waits()) {
    auto watched = std::make_unique<FlushDue>(std::move(backend));
    changed = watched.get();
    backend = std::move(watched);
  }
  all_.push_back({to_text(region), std::move(backend), changed});
  return *all_.back().region;
}

std::uint64_t SharedRegions::size() const {
  std::uint64_t size = 0;
  for (const Shared& each : all_) size += each.region->size();
  return size;
}

void SharedRegions::flush_changed() {
  TaskGroup flushes;
  for (const Shared& each : all_)
    if (each.changed && each.changed->due()) flushes.spawn([&each] { flush_named(*each.changed, each.name); });
  flushes.join();
}

void SharedRegions::abandon() noexcept {
  for (const Shared& each : all_) each.region->abandon();
}

}  // namespace r3
