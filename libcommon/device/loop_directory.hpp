// SPDX-License-Identifier: Apache-2.0
// A directory that only this user can enter, for the file below a loop device. It is locked while
// its process lives, so that the next one knows what a killed one has left, and takes it away: the
// binding of the device, the mount, the directory.
#pragma once

#include <string>

#include "libcommon/base/fd.hpp"

namespace r3 {

class LoopDirectory {
 public:
  LoopDirectory();
  ~LoopDirectory();
  LoopDirectory(const LoopDirectory&) = delete;
  LoopDirectory& operator=(const LoopDirectory&) = delete;

  // Of the one file in it.
  std::string file() const;

 private:
  bool make();

  std::string path_;
  Fd lock_;
};

// The file that the loop device `node` shows; empty if none.
std::string backing_of(const std::string& node);

// Unbinds the loop device `node`: at once if nobody has it open, else when the last one closes it.
// Apart, because closing it waits for the file below.
void unbind_loop(const std::string& node) noexcept;

}  // namespace r3
