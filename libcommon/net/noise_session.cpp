// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/noise_session.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::string_view kVersion = "r3-noise/1";
constexpr std::size_t kLongestMessage = 2 + 64;  // XK's third

// 'R' '3' 'N' 1, the pattern's number, three zeroes.
using Preamble = std::array<std::byte, 8>;

Preamble preamble_of(NoisePattern pattern) {
  return {std::byte{'R'}, std::byte{'3'}, std::byte{'N'}, std::byte{1}, std::byte(pattern)};
}

// Both sides put what was said in the clear under the handshake's hash, so that nobody can change it.
HandshakeState begin(NoisePattern pattern, HandshakeState::Role role, const NoiseKeys& keys) {
  std::array<std::byte, kVersion.size() + sizeof(Preamble)> prologue;
  const Preamble preamble = preamble_of(pattern);
  const ConstBytes version = as_bytes(kVersion);
  std::copy(preamble.begin(), preamble.end(),
            std::copy(version.begin(), version.end(), prologue.begin()));
  return HandshakeState(pattern, role, prologue, keys);
}

void read_exactly(Stream& plain, Bytes into) {
  if (plain.read_full(into) < into.size())
    throw ProtocolError("the peer left during the handshake: its keys or version may differ");
}

void send_message(Stream& plain, HandshakeState& handshake, ConstBytes before) {
  std::array<std::byte, kLongestMessage> message;
  const std::size_t length = handshake.next_overhead();
  store_be(message.data(), static_cast<std::uint16_t>(length));
  handshake.write_message({}, &message[2]);
  const ConstBytes parts[] = {before, ConstBytes(message).first(2 + length)};
  plain.write_parts(parts);
}

// Payloads are empty in this version, so each message has one possible length.
void receive_message(Stream& plain, HandshakeState& handshake) {
  std::array<std::byte, kLongestMessage> message;
  const std::size_t length = handshake.next_overhead();
  read_exactly(plain, Bytes(message).first(2));
  if (load_be<std::uint16_t>(message.data()) != length)
    throw ProtocolError("a handshake message of a wrong length");
  const Bytes body = Bytes(message).subspan(2, length);
  read_exactly(plain, body);
  std::byte no_payload;
  handshake.read_message(body, &no_payload);
}

SecureSession run(Stream& plain, HandshakeState handshake, NoisePattern pattern, bool client) {
  while (!handshake.complete()) {
    if (handshake.my_turn())
      send_message(plain, handshake, {});
    else
      receive_message(plain, handshake);
  }
  plain.set_deadline({});
  const auto [initiator, responder] = handshake.split();
  return {pattern, client ? initiator : responder, client ? responder : initiator,
          handshake.hash(), handshake.peer()};
}

void start_deadline(Stream& plain, std::chrono::milliseconds time) {
  plain.set_deadline(std::chrono::steady_clock::now() + time);
}

}  // namespace

NoisePattern client_pattern(const NoiseKeys& keys) {
  if (keys.peer && keys.own) return keys.psk ? NoisePattern::xk_psk0 : NoisePattern::xk;
  if (keys.peer && !keys.psk) return NoisePattern::nk;
  if (keys.psk && !keys.own && !keys.peer) return NoisePattern::nn_psk0;
  throw std::invalid_argument(
      "these keys make no connection: give a pre-shared key, or the server's public key (and, unless "
      "the server takes anonymous clients, a private key)");
}

bool accepts(const ServerKeys& keys, NoisePattern pattern) {
  switch (pattern) {
    case NoisePattern::nn_psk0: return keys.psk && !keys.own;
    case NoisePattern::xk: return keys.own && !keys.psk;
    case NoisePattern::xk_psk0: return keys.own && keys.psk;
    case NoisePattern::nk: return keys.own && keys.anonymous;
  }
  return false;
}

SecureSession client_handshake(Stream& plain, const NoiseKeys& keys, std::chrono::milliseconds time) {
  const NoisePattern pattern = client_pattern(keys);
  HandshakeState handshake = begin(pattern, HandshakeState::Role::initiator, keys);
  start_deadline(plain, time);
  send_message(plain, handshake, preamble_of(pattern));
  return run(plain, std::move(handshake), pattern, true);
}

SecureSession server_handshake(Stream& plain, const ServerKeys& keys,
                               std::chrono::milliseconds time) {
  start_deadline(plain, time);
  Preamble preamble;
  read_exactly(plain, preamble);
  for (const NoisePattern pattern : kNoisePatterns)
    if (accepts(keys, pattern) && preamble == preamble_of(pattern))
      return run(plain, begin(pattern, HandshakeState::Role::responder, {keys.own, {}, keys.psk}),
                 pattern, false);
  throw ProtocolError("a client that asks for another protocol or another kind of keys");
}

}  // namespace r3
