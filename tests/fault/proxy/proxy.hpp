// SPDX-License-Identifier: Apache-2.0
// All connections of one faultproxy, and what is asked of them together: figures, cut, hole, delay. Any
// thread may call anything.
#pragma once

#include <list>
#include <mutex>
#include <string>

#include "libcommon/cli/events.hpp"
#include "libcommon/net/address.hpp"
#include "tests/fault/proxy/relay.hpp"

namespace r3::fault {

class Proxy {
 public:
  // Borrows the settings, and changes the delay in them.
  Proxy(Settings& settings, Address target);

  // Serves one client to its end. An unreachable target, or a socket that fails, ends this client
  // only, with a warning.
  void serve(Fd client, std::uint64_t number, const Stop& stop);

  Json stats() const;
  Json cut();
  Json hole(bool on);
  Json delay(const std::string& time);

 private:
  std::list<Relay>::iterator enrol(Fd client, Fd target, std::uint64_t number);
  void forget(std::list<Relay>::iterator relay);

  Settings& settings_;
  const Address target_;
  Totals totals_;
  mutable std::mutex mutex_;
  std::list<Relay> relays_;  // guarded by mutex_
  bool hole_ = false;        // guarded by mutex_: for connections to come
};

}  // namespace r3::fault
