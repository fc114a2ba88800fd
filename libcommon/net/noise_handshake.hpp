// SPDX-License-Identifier: Apache-2.0
// A handshake of the Noise Protocol Framework (revision 34, section 5.3) in the four patterns that
// r3-noise/1 uses, with 25519, ChaChaPoly and SHA256. Bytes in, bytes out: knows no I/O, no lengths on a
// wire, and nothing of who may do what.
#pragma once

#include <optional>
#include <string_view>

#include "libcommon/net/noise_cipher.hpp"

namespace r3 {

// The numbers are those of the wire (r3-protocol(7)).
enum class NoisePattern : std::uint8_t { nn_psk0 = 1, xk = 2, xk_psk0 = 3, nk = 4 };

inline constexpr NoisePattern kNoisePatterns[] = {NoisePattern::nn_psk0, NoisePattern::xk,
                                                  NoisePattern::xk_psk0, NoisePattern::nk};

// What a side brings. What its pattern does not need is left empty.
struct NoiseKeys {
  SecretKey own;                  // its own static key
  std::optional<PublicKey> peer;  // the responder's static key, which the initiator must know
  SecretKey psk;
};

class HandshakeState {
 public:
  enum class Role { initiator, responder };

  // Throws std::invalid_argument when a key that the pattern needs is missing. `ephemeral` is for the
  // tests that repeat published vectors; everybody else leaves it empty.
  HandshakeState(NoisePattern pattern, Role role, ConstBytes prologue, NoiseKeys keys,
                 SecretKey ephemeral = {});

  // "Noise_XK_25519_ChaChaPoly_SHA256"
  static std::string_view protocol_name(NoisePattern pattern);

  bool complete() const;
  bool my_turn() const;
  // How long the next message is with an empty payload, whoever writes it.
  std::size_t next_overhead() const;

  // Writes the next message into `into` (next_overhead() + payload.size() bytes).
  void write_message(ConstBytes payload, std::byte* into);
  // Reads the next message; its payload goes to `payload` (message.size() - next_overhead() bytes).
  // Throws ProtocolError, always with the same text, if it is not right: the object is of no use then.
  void read_message(ConstBytes message, std::byte* payload);

  // For complete ones: the keys of the initiator's and of the responder's messages.
  std::pair<CipherState, CipherState> split() const;
  // The channel binding: the same on both sides of this very connection, and nowhere else.
  const SymmetricState::Hash& hash() const { return symmetric_.hash(); }
  // The static key that the peer has proved to hold, if the pattern has one.
  const std::optional<PublicKey>& peer() const { return keys_.peer; }

 private:
  enum class Token : std::uint8_t;
  struct Script;
  static const Script& script_of(NoisePattern pattern);
  void check_keys() const;
  void mix_ephemeral(const PublicKey& key);
  void mix_dh(Token token);
  std::byte* write_token(Token token, std::byte* into);
  ConstBytes read_token(Token token, ConstBytes message);

  const Script& script_;
  const Role role_;
  NoiseKeys keys_;
  SecretKey ephemeral_;
  std::optional<PublicKey> peer_ephemeral_;
  SymmetricState symmetric_;
  std::size_t next_ = 0;  // the message to come
};

}  // namespace r3
