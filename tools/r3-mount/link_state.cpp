// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/link_state.hpp"

namespace r3 {

void LinkState::watch(RegionOptions& options) {
  options.on_change = [this](bool connected) { changed(connected); };
}

void LinkState::changed(bool connected) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  connected_ = connected;
  if (connected) {
    const std::chrono::duration<double> away = now - since_;
    tool_.events().send(Json().add("event", "reconnected").add("seconds", away.count()));
    return;
  }
  ++outages_;
  since_ = now;
  tool_.events().send(Json().add("event", "disconnected"));
}

Json& LinkState::add_to(Json& status) const {
  const std::lock_guard lock(mutex_);
  return status.add("connected", connected_).add("outages", outages_);
}

}  // namespace r3
