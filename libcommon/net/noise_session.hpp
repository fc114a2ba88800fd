// SPDX-License-Identifier: Apache-2.0
// The opening of r3-noise/1 (r3-protocol(7)): which pattern follows from the keys that a side has, a
// preamble in the clear, and the Noise handshake over a Stream. Knows keys, not who may do what: the
// caller looks at the peer's key and decides.
#pragma once

#include <chrono>
#include <optional>

#include "libcommon/net/noise_handshake.hpp"
#include "libcommon/net/stream.hpp"

namespace r3 {

// What a finished handshake leaves behind.
struct SecureSession {
  NoisePattern pattern;
  CipherState sending;
  CipherState receiving;
  SymmetricState::Hash binding;   // the same on both sides, different for each connection
  std::optional<PublicKey> peer;  // proven: the server's to a client; the client's with XK and XKpsk0
};

// The pattern follows from the keys: server's key and own: XK, and psk: XKpsk0; server's key alone: NK;
// psk alone: NNpsk0. Throws std::invalid_argument for any other choice.
NoisePattern client_pattern(const NoiseKeys& keys);

struct ServerKeys {
  SecretKey own;           // XK
  SecretKey psk;           // NNpsk0; with `own` XKpsk0 only, so that strangers get no answer
  bool anonymous = false;  // NK too, with `own`: the caller gives such clients read-only access
};

bool accepts(const ServerKeys& keys, NoisePattern pattern);

// These run a handshake, within `time` in all, and take not one byte more from the stream than it has
// (at most 160) and no memory but the stack. ProtocolError if the peer's keys, version or bytes are
// wrong, or it left early; std::system_error when the connection is lost, stopped, or too slow
// (ETIMEDOUT). The stream is without a deadline afterwards.
SecureSession client_handshake(Stream& plain, const NoiseKeys& keys, std::chrono::milliseconds time);
SecureSession server_handshake(Stream& plain, const ServerKeys& keys, std::chrono::milliseconds time);

}  // namespace r3
