// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/noise_handshake.hpp"

#include <sodium.h>

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <utility>

#include "libcommon/base/error.hpp"

namespace r3 {

// Section 5.3: what a message is made of. Of the two letters of a DH the first is the initiator's key.
enum class HandshakeState::Token : std::uint8_t { none, e, s, ee, es, se, psk };

struct HandshakeState::Script {
  std::string_view name;
  bool responder_known;  // its static key is a pre-message
  bool initiator_static;
  bool psk;
  std::size_t messages;
  Token tokens[3][4];
};

namespace {

// One text for everything that can be wrong: a stranger learns nothing from it.
[[noreturn]] void refuse() {
  throw ProtocolError("the handshake failed: the peer has another key, or is not what it says");
}

void require(bool given, const char* what) {
  if (!given) throw std::invalid_argument(what);
}

}  // namespace

const HandshakeState::Script& HandshakeState::script_of(NoisePattern pattern) {
  using enum Token;
  static constexpr Script kScripts[] = {
      {"Noise_NNpsk0_25519_ChaChaPoly_SHA256", false, false, true, 2, {{psk, e}, {e, ee}, {}}},
      {"Noise_XK_25519_ChaChaPoly_SHA256", true, true, false, 3, {{e, es}, {e, ee}, {s, se}}},
      {"Noise_XKpsk0_25519_ChaChaPoly_SHA256", true, true, true, 3, {{psk, e, es}, {e, ee}, {s, se}}},
      {"Noise_NK_25519_ChaChaPoly_SHA256", true, false, false, 2, {{e, es}, {e, ee}, {}}},
  };
  return kScripts[static_cast<std::size_t>(pattern) - 1];
}

std::string_view HandshakeState::protocol_name(NoisePattern pattern) {
  return script_of(pattern).name;
}

HandshakeState::HandshakeState(NoisePattern pattern, Role role, ConstBytes prologue, NoiseKeys keys,
                               SecretKey ephemeral)
    : script_(script_of(pattern)),
      role_(role),
      keys_(std::move(keys)),
      ephemeral_(std::move(ephemeral)),
      symmetric_(as_bytes(script_.name)) {
  start_crypto();
  check_keys();
  symmetric_.mix_hash(prologue);
  if (!script_.responder_known) return;
  symmetric_.mix_hash(role_ == Role::initiator ? *keys_.peer : keys_.own.public_key());
}

void HandshakeState::check_keys() const {
  const bool initiator = role_ == Role::initiator;
  if (script_.psk) require(bool(keys_.psk), "a handshake without its pre-shared key");
  if (script_.responder_known && initiator)
    require(keys_.peer.has_value(), "a handshake without the server's public key");
  if (initiator ? script_.initiator_static : script_.responder_known)
    require(bool(keys_.own), "a handshake without a private key");
}

bool HandshakeState::complete() const {
  return next_ == script_.messages;
}

bool HandshakeState::my_turn() const {
  return !complete() && (next_ % 2 == 0) == (role_ == Role::initiator);
}

std::size_t HandshakeState::next_overhead() const {
  assert(!complete());
  std::size_t bytes = 0;
  bool keyed = symmetric_.overhead() > 0;
  for (const Token token : script_.tokens[next_]) {
    if (token == Token::e) bytes += kKeySize;
    if (token == Token::s) bytes += kKeySize + (keyed ? kTagSize : 0);
    keyed = keyed || (token != Token::none && token != Token::e && token != Token::s);
  }
  return bytes + (keyed ? kTagSize : 0);
}

void HandshakeState::mix_ephemeral(const PublicKey& key) {
  symmetric_.mix_hash(key);
  if (script_.psk) symmetric_.mix_key(key);  // section 9.2
}

void HandshakeState::mix_dh(Token token) {
  const bool initiator = role_ == Role::initiator;
  const bool mine_static = token == (initiator ? Token::se : Token::es);
  const bool theirs_static = token == (initiator ? Token::es : Token::se);
  const SecretKey& mine = mine_static ? keys_.own : ephemeral_;
  const std::optional<PublicKey>& theirs = theirs_static ? keys_.peer : peer_ephemeral_;
  assert(mine && theirs);
  Wiped<32> shared;
  // -1: the output is all zeroes, because the peer sent a point of small order.
  if (::crypto_scalarmult(reinterpret_cast<unsigned char*>(shared.data()),
                          reinterpret_cast<const unsigned char*>(mine.bytes().data()),
                          reinterpret_cast<const unsigned char*>(theirs->data())) != 0)
    refuse();
  symmetric_.mix_key(shared.bytes());
}

std::byte* HandshakeState::write_token(Token token, std::byte* into) {
  switch (token) {
    case Token::none: return into;
    case Token::psk: symmetric_.mix_key_and_hash(keys_.psk.bytes()); return into;
    case Token::e: {
      if (!ephemeral_) ephemeral_ = SecretKey::generate();
      const PublicKey key = ephemeral_.public_key();
      mix_ephemeral(key);
      return std::copy(key.begin(), key.end(), into);
    }
    case Token::s: {
      const std::size_t length = kKeySize + symmetric_.overhead();
      symmetric_.encrypt_and_hash(keys_.own.public_key(), into);
      return into + length;
    }
    default: mix_dh(token); return into;
  }
}

ConstBytes HandshakeState::read_token(Token token, ConstBytes message) {
  PublicKey key;
  switch (token) {
    case Token::none: return message;
    case Token::psk: symmetric_.mix_key_and_hash(keys_.psk.bytes()); return message;
    case Token::e:
      std::copy_n(message.begin(), key.size(), key.begin());
      mix_ephemeral(key);
      peer_ephemeral_ = key;
      return message.subspan(key.size());
    case Token::s: {
      const std::size_t length = kKeySize + symmetric_.overhead();
      if (!symmetric_.decrypt_and_hash(message.first(length), key.data())) refuse();
      keys_.peer = key;
      return message.subspan(length);
    }
    default: mix_dh(token); return message;
  }
}

void HandshakeState::write_message(ConstBytes payload, std::byte* into) {
  assert(my_turn());
  for (const Token token : script_.tokens[next_]) into = write_token(token, into);
  symmetric_.encrypt_and_hash(payload, into);
  ++next_;
}

void HandshakeState::read_message(ConstBytes message, std::byte* payload) {
  assert(!my_turn() && !complete());
  if (message.size() < next_overhead()) refuse();
  for (const Token token : script_.tokens[next_]) message = read_token(token, message);
  if (!symmetric_.decrypt_and_hash(message, payload)) refuse();
  ++next_;
}

std::pair<CipherState, CipherState> HandshakeState::split() const {
  assert(complete());
  return symmetric_.split();
}

}  // namespace r3
