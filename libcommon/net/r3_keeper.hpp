// SPDX-License-Identifier: Apache-2.0
// Looks after the connections of an r3/1 client while nobody uses them: notices that one ended, and dials it
// again, so that the user learns of an outage when it begins and not with the next request, and so that
// requests that gave up leave somebody behind who goes on. One thread. Part of r3_client.
#pragma once

#include <memory>
#include <vector>

#include "libcommon/base/tasks.hpp"

namespace r3 {

class R3Session;
class R3Slot;

class R3Keeper {
 public:
  // Borrows both.
  R3Keeper(R3Session& session, const std::vector<std::unique_ptr<R3Slot>>& slots);
  ~R3Keeper();

 private:
  void keep();

  R3Session& session_;
  const std::vector<std::unique_ptr<R3Slot>>& slots_;
  TaskGroup thread_;
};

}  // namespace r3
