// SPDX-License-Identifier: Apache-2.0
// The lower two objects of the Noise Protocol Framework, revision 34 (noiseprotocol.org, section 5):
// CipherState (a key and a counter) and SymmetricState (the running hash and key of a handshake), for
// ChaChaPoly and SHA256. Every primitive is libsodium's. Bytes in, bytes out; knows no patterns, no
// messages and no I/O.
#pragma once

#include <cstdint>
#include <utility>

#include "libcommon/net/secret.hpp"

namespace r3 {

inline constexpr std::size_t kTagSize = 16;

// One key, used for at most 2^48 messages: a sender that gets there has to close (seal throws).
class CipherState {
 public:
  CipherState() = default;
  explicit CipherState(ConstBytes key, std::uint64_t nonce = 0);

  // Encrypts into `into`, which takes plaintext.size() + kTagSize bytes and may start where the
  // plaintext does.
  void seal(ConstBytes ad, ConstBytes plaintext, std::byte* into);
  // Decrypts into `into`, which takes sealed.size() - kTagSize bytes and may start where `sealed` does.
  // False, and the counter unchanged, if the bytes are not authentic.
  [[nodiscard]] bool open(ConstBytes ad, ConstBytes sealed, std::byte* into);
  // REKEY of section 4.2; the counter goes on.
  void rekey();

  // How many messages have gone through.
  std::uint64_t nonce() const { return nonce_; }

 private:
  Wiped<kKeySize> key_;
  std::uint64_t nonce_ = 0;
};

class SymmetricState {
 public:
  using Hash = std::array<std::byte, 32>;

  explicit SymmetricState(ConstBytes protocol_name);

  void mix_hash(ConstBytes data);
  void mix_key(ConstBytes input);
  void mix_key_and_hash(ConstBytes input);
  // The bytes that these add to a message beyond the plaintext.
  std::size_t overhead() const { return has_key_ ? kTagSize : 0; }
  void encrypt_and_hash(ConstBytes plaintext, std::byte* into);
  // `into` and `sealed` must not overlap: the hash is over what was sealed.
  [[nodiscard]] bool decrypt_and_hash(ConstBytes sealed, std::byte* into);

  // For the initiator's messages, for the responder's messages.
  std::pair<CipherState, CipherState> split() const;
  const Hash& hash() const { return hash_; }

 private:
  Wiped<32> chaining_key_;
  Hash hash_{};
  CipherState cipher_;
  bool has_key_ = false;
};

}  // namespace r3
