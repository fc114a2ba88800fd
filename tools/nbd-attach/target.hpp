// SPDX-License-Identifier: Apache-2.0
// The export that a device shows: where its server is, and how to get a connection that the kernel can use.
// Knows nothing of devices.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/nbd_client_handshake.hpp"
#include "libcommon/net/socket.hpp"
#include "tools/nbd-attach/proxy.hpp"

namespace r3 {

class Target {
 public:
  // An NBD URI (nbd:, nbd+unix:, nbd+exec:, ...), or an address, with the name of the export beside it.
  // Throws std::invalid_argument.
  Target(const std::string& text, const std::string& export_name);

  struct Link {
    Channel channel;
    std::unique_ptr<Proxy> proxy = {};  // in its place, where the kernel does not take it itself
    nbd::Agreement agreement = {};
    int socket() const { return proxy ? proxy->near() : channel.input(); }
  };
  // A connection with its handshake done, whose socket the kernel takes: simple replies. Throws what connecting and shake_hands() throw.
  Link dial(std::chrono::milliseconds timeout, const Stop& stop) const;

  // For messages: the address and the export.
  const std::string& name() const { return name_; }
  // Whether each connection is a command of its own (exec:), which ends when this process does.
  bool is_command() const { return address_.kind == Address::Kind::exec; }
  // The same for the same export, in any process.
  std::string identifier() const;

 private:
  Address address_;
  std::string export_;
  std::string name_;
};

}  // namespace r3
