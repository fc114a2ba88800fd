// SPDX-License-Identifier: Apache-2.0
// Both ends of opening a connection for r3/1 (r3-protocol(7)): the preamble, plain or with a Noise handshake,
// and the rule that what leaves the machine is encrypted unless somebody said otherwise. Knows keys and
// addresses; not what is said afterwards.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "libcommon/net/noise_session.hpp"
#include "libcommon/net/peer_keys.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_server.hpp"

namespace r3 {

struct R3Security {
  NoiseKeys keys;      // none at all: plain mode
  bool plain = false;  // allowed off the machine too
};

// How to reach a server. Throws std::invalid_argument when that would be in plain mode and not local. What
// cannot be dialled twice (fd:N, -) fails with ESHUTDOWN the second time.
R3Dial r3_dial(const Address& address, const R3Security& security, std::chrono::milliseconds timeout);

// The client's opening of plain mode over a channel that it has.
void begin_plain(Channel& channel, const Stop& stop);

// What a server accepts. Any thread may use it; a reload replaces the whole.
struct R3Policy {
  bool plain = false;            // plain mode, full access
  std::optional<ServerKeys> keys;
  PeerKeys peers;                // of XK and XKpsk0: who may do what
};

struct R3Accepted {
  std::unique_ptr<Link> link;
  bool sums = true;
  R3Peer peer;
  std::optional<PublicKey> key;  // the client's, proven
  bool with_psk = false;         // it knew the pre-shared key
};

// Whether what was accepted under one policy would be under the other, with the same rights.
bool same_rights(const std::optional<PublicKey>& key, bool with_psk, const R3Policy& one,
                 const R3Policy& other);

// The server's side of the opening, within `time` in all. Throws ProtocolError for what the policy does not
// accept (the peer gets no answer), std::system_error when the connection is lost.
R3Accepted r3_accept(Channel channel, const std::shared_ptr<const R3Policy>& policy, const Stop& stop,
                     std::chrono::milliseconds time);

}  // namespace r3
