// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/proxy/proxy.hpp"

#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/net/socket.hpp"

namespace r3::fault {

Proxy::Proxy(Settings& settings, Address target) : settings_(settings), target_(std::move(target)) {
  if (target_.kind != Address::Kind::tcp && target_.kind != Address::Kind::unix_socket)
    throw std::invalid_argument("--connect: " + to_text(target_) + " is not tcp:// or unix:");
}

void Proxy::serve(Fd client, std::uint64_t number, const Stop& stop) {
  try {
    // A reset needs the last descriptor of the socket: the channel's own is given up.
    Fd target = duplicate(connect_to(target_, std::chrono::seconds(10), stop).input());
    const auto relay = enrol(std::move(client), std::move(target), number);
    try {
      relay->run(stop);
    } catch (...) {
      forget(relay);
      throw;
    }
    forget(relay);
  } catch (...) {
    log_warning(text_of_current_exception());
  }
}

std::list<Relay>::iterator Proxy::enrol(Fd client, Fd target, std::uint64_t number) {
  std::lock_guard lock(mutex_);
  const auto relay = relays_.emplace(relays_.end(), std::move(client), std::move(target), number,
                                     settings_, totals_);
  relay->hole(hole_);
  ++totals_.connections;
  return relay;
}

void Proxy::forget(std::list<Relay>::iterator relay) {
  std::lock_guard lock(mutex_);
  relays_.erase(relay);
}

Json Proxy::stats() const {
  const FaultCounts& faults = totals_.faults;
  std::lock_guard lock(mutex_);
  Json json;
  json.add("up", totals_.up.load()).add("down", totals_.down.load());
  json.add("connections", totals_.connections.load());
  json.add("open", static_cast<std::uint64_t>(relays_.size()));
  json.add("resets", totals_.resets.load()).add("holes", totals_.holes.load());
  json.add("flipped", faults.flipped.load()).add("dropped", faults.dropped.load());
  json.add("duplicated", faults.duplicated.load()).add("reordered", faults.reordered.load());
  return json;
}

Json Proxy::cut() {
  std::lock_guard lock(mutex_);
  for (Relay& relay : relays_) relay.cut();
  return Json().add("cut", static_cast<std::uint64_t>(relays_.size()));
}

Json Proxy::hole(bool on) {
  std::lock_guard lock(mutex_);
  hole_ = on;
  for (Relay& relay : relays_) relay.hole(on);
  return Json().add("hole", on);
}

Json Proxy::delay(const std::string& time) {
  settings_.shape.delay = parse_delay(time);
  return Json().add("delay", time);
}

}  // namespace r3::fault
