// SPDX-License-Identifier: Apache-2.0
// What a process has written to its mapping of a file, as the kernel tells it (PAGEMAP_SCAN, ioctl_pagemap_scan
// of Linux 6.7), for processes that asked the kernel to keep account (track_writes.hpp). Sees only what is
// written through that mapping.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "tools/mmap-hashsync/file_view.hpp"
#include "tools/mmap-hashsync/scan.hpp"

namespace r3::sync {

class PageMap {
 public:
  // Throws, saying why, if the process does not track its writes to the file.
  PageMap(pid_t process, const Identity& file, std::string path);

  // The chunks written since the last call (the first: since tracking began), in order. From the same moment
  // on the kernel keeps account anew.
  std::vector<Run> written(const Geometry& geometry);

 private:
  struct Part {
    std::uint64_t begin, end;  // addresses in the process
    std::uint64_t offset;      // in the file
  };
  void scan(const Part& part, const Geometry& geometry, std::vector<Run>& runs);

  const std::string path_;
  Fd page_map_;
  std::vector<Part> parts_;
};

}  // namespace r3::sync
