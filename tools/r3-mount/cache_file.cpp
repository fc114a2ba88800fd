// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/cache_file.hpp"

#include <algorithm>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/net/r3_client.hpp"
#include "tools/r3-mount/compare.hpp"

namespace r3 {
namespace {

constexpr std::chrono::milliseconds kKeepEvery{5000};
constexpr std::uint64_t kCompared = 4 * MiB;  // at once

std::array<std::byte, 16> this_boot() {
  return name_hash(read_small_file("/proc/sys/kernel/random/boot_id"));
}

std::uint64_t instance_of(Backend& region) {
  const auto* r3 = dynamic_cast<R3Client*>(&region);
  return r3 ? r3->instance() : 0;
}

}  // namespace

CacheFile::CacheFile(const std::string& path, const std::string& name, Backend& region,
                     std::uint64_t chunk, bool push_anyway)
    : path_(path), disk_(path) {
  store_ = std::make_unique<FileStore>(
      disk_, path, CacheOwner{name, region.size(), instance_of(region), chunk}, this_boot());
  if (store_->found() != FileStore::Found::empty) clear_doubt(region, chunk, push_anyway);
}

void CacheFile::clear_doubt(Backend& region, std::uint64_t chunk, bool push_anyway) {
  const ChunkMap map(region.size(), chunk, *store_);
  // What it has now has to stay, or what is compared with it is no longer the same.
  if (!region.read_only()) region.flush();
  if (!can_compare(region, chunk)) return store_->forget_clean(0, map.chunks());
  std::uint64_t differ = 0;
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; (at = map.present.next_set(at, map.chunks())) < map.chunks();) {
    ChunkRun run{at, map.present.next_clear(at, map.chunks()) - at};
    run.count = std::min(run.count, std::max<std::uint64_t>(kCompared / chunk, 1));
    at = run.end();
    if (map.dirty.count(run.first, run.count) == run.count) continue;
    bytes.resize(map.length_of(run));
    store_->read(bytes, map.offset_of(run.first));
    const auto differs = differing(region, bytes, map.offset_of(run.first), chunk);
    for (std::uint64_t i = 0; i < run.count; ++i)
      if (differs[i] && !map.dirty.test(run.first + i)) {
        ++differ;
        store_->forget_clean(run.first + i, 1);
      }
  }
  log_debug(path_ + ": " + std::to_string(map.present_count()) + " chunks, " +
            std::to_string(map.dirty_count()) + " dirty, " + std::to_string(differ) + " forgotten");
  if (differ == 0 || map.dirty_count() == 0 || push_anyway) return;
  fail(ESTALE, path_ + ": the region was changed meanwhile, and " +
                   std::to_string(map.dirty_count() * chunk) +
                   " bytes here were not written to it (--push-anyway writes them)");
}

void CacheFile::keep_durable() {
  keeper_.spawn([this] {
    while (!keeper_.stop().wait_for(kKeepEvery)) try {
        store_->sync();
      } catch (const std::system_error& error) {
        return log_error(error.what());
      }
  });
}

void CacheFile::close() {
  keeper_.stop().request();
  keeper_.join();
  store_->close();
}

}  // namespace r3
