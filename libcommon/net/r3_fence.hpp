// SPDX-License-Identifier: Apache-2.0
// Who may change an export. Each session of a client that writes has a token, and newer ones are larger. A
// session that wants to be the only writer (it caches) fences off all older ones; one that came after it, and
// does not want that, fences it off with its first change. Part of r3_server; any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "libcommon/base/fair_lock.hpp"

namespace r3 {

class R3Fence {
 public:
  // A session comes (`token` 0) or comes back with the token that it has, perhaps from a server before this
  // one. Returns its token. What those that it fences off are changing has ended on return.
  std::uint64_t enter(std::uint64_t token, bool only_writer);

  // While one lives, its session makes a change, and nobody is fenced off. Throws ESTALE if the session is.
  class Change {
   public:
    Change(R3Fence& fence, std::uint64_t token);

   private:
    std::optional<FairLock::Shared> shared_;
  };

 private:
  FairLock lock_;  // shared by changes; who fences others off has it alone
  std::uint64_t last_ = 0;         // guarded by lock_: the largest token
  std::uint64_t least_ = 0;        // guarded by lock_: smaller ones are fenced off
  std::uint64_t only_writer_ = 0;  // guarded by lock_: the newest of these
};

}  // namespace r3
