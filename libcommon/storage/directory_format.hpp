// SPDX-License-Identifier: Apache-2.0
// What makes a directory a region: the file "region", which says so in text together with the size and
// the chunk size, and the file "lock". Opens it, or makes a new one. Knows nothing of chunks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/storage/open_files.hpp"

namespace r3 {

struct DirectoryOptions {
  std::optional<std::uint64_t> size;        // needed to make a new one; else it must be the same
  std::optional<std::uint64_t> chunk_size;  // a power of two, 4 KiB to 64 MiB; 64 KiB if new
  bool read_only = false;
  std::shared_ptr<OpenFiles> open_files = {};  // together with others; none: a bound of its own
};

struct OpenedDirectory {
  Fd directory;
  Fd lock;  // invalid for a reader of a directory that has no lock file
  std::uint64_t size = 0;
  std::uint64_t chunk_size = 0;
};

// Makes the directory if there is none; its parent must be there. Throws std::invalid_argument if size
// or chunk size are unfit, missing, or not those of the region that is there; ENOTEMPTY for a directory
// of something else; EBUSY if another process has it open (many may read, or one write).
OpenedDirectory open_region_directory(const std::string& path, const DirectoryOptions& options);

}  // namespace r3
