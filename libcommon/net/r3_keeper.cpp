// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_keeper.hpp"

#include <poll.h>

#include "libcommon/net/r3_session.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

R3Keeper::R3Keeper(R3Session& session, const std::vector<std::unique_ptr<R3Slot>>& slots)
    : session_(session), slots_(slots) {
  thread_.spawn([this] { keep(); });
}

R3Keeper::~R3Keeper() { session_.stop().request(); }

void R3Keeper::keep() {
  while (wait_for(session_.watch().fd(), POLLIN, session_.stop()) == Wait::ready) {
    session_.watch().clear();
    for (const auto& slot : slots_) slot->look_after();
    if (session_.dead() != 0) return;
  }
}

}  // namespace r3
