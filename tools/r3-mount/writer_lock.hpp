// SPDX-License-Identifier: Apache-2.0
// One managed mount on this machine writes to a region whose server cannot fence others off: a lock named
// after the region, for as long as it lives. Says nothing about other machines, nor about other programs.
#pragma once

#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

class WriterLock {
 public:
  // Throws EBUSY when another process has it. Regions that are private to a process need none.
  explicit WriterLock(const Region& region);

 private:
  Fd file_;  // none: there is no need, or no place for it
};

}  // namespace r3
