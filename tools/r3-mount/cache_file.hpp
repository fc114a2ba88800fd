// SPDX-License-Identifier: Apache-2.0
// The cache of --cache FILE: taken up after a doubt was cleared, made durable every few seconds, closed at
// the end. Knows which regions can say whether their bytes are still those of the cache.
#pragma once

#include <memory>
#include <string>

#include "libcommon/base/tasks.hpp"
#include "libcommon/storage/cached_file.hpp"

namespace r3 {

class CacheFile {
 public:
  // What is clean in the cache and no longer the region's is forgotten: compared by hash (r3), byte for
  // byte (a local file), or all of it (what can do neither). Throws when the region was changed by somebody
  // else while the cache holds writes of its own, unless `push_anyway`.
  CacheFile(const std::string& path, const std::string& name, Backend& region, std::uint64_t chunk,
            bool push_anyway);

  CacheStore& store() { return *store_; }
  const std::string& path() const { return path_; }
  // Begins once the store is in use.
  void keep_durable();
  void close();

 private:
  void clear_doubt(Backend& region, std::uint64_t chunk, bool push_anyway);

  const std::string path_;
  FileDisk disk_;
  std::unique_ptr<FileStore> store_;
  TaskGroup keeper_;
};

}  // namespace r3
