// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/noise_cipher.hpp"

#include <sodium.h>

#include <algorithm>
#include <cassert>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kMostMessages = 1ULL << 48;
constexpr std::uint64_t kRekeyNonce = ~0ULL;

using Nonce = std::array<unsigned char, 12>;

const unsigned char* raw(const std::byte* bytes) {
  return reinterpret_cast<const unsigned char*>(bytes);
}

unsigned char* raw(std::byte* bytes) {
  return reinterpret_cast<unsigned char*>(bytes);
}

// Section 12.3: 32 bits of zeroes, then the counter, little-endian.
Nonce nonce_bytes(std::uint64_t nonce) {
  Nonce bytes{};
  store_le(reinterpret_cast<std::byte*>(&bytes[4]), nonce);
  return bytes;
}

void encrypt(ConstBytes key, std::uint64_t nonce, ConstBytes ad, ConstBytes plaintext,
             std::byte* into) {
  ::crypto_aead_chacha20poly1305_ietf_encrypt(
      raw(into), nullptr, raw(plaintext.data()), plaintext.size(), raw(ad.data()), ad.size(),
      nullptr, nonce_bytes(nonce).data(), raw(key.data()));
}

void hmac(ConstBytes key, ConstBytes first, ConstBytes second, std::byte* into) {
  crypto_auth_hmacsha256_state state;
  ::crypto_auth_hmacsha256_init(&state, raw(key.data()), key.size());
  ::crypto_auth_hmacsha256_update(&state, raw(first.data()), first.size());
  ::crypto_auth_hmacsha256_update(&state, raw(second.data()), second.size());
  ::crypto_auth_hmacsha256_final(&state, raw(into));
  ::sodium_memzero(&state, sizeof state);
}

// HKDF of section 4.3: Count outputs of 32 bytes, one after the other.
template <std::size_t Count>
Wiped<32 * Count> hkdf(ConstBytes chaining_key, ConstBytes input) {
  Wiped<32 * Count> outputs;
  Wiped<32> temporary;
  hmac(chaining_key, input, {}, temporary.data());
  ConstBytes previous;
  for (std::size_t i = 0; i < Count; ++i) {
    const auto number = static_cast<std::byte>(i + 1);
    hmac(temporary.bytes(), previous, {&number, 1}, outputs.data() + 32 * i);
    previous = outputs.bytes().subspan(32 * i, 32);
  }
  return outputs;
}

}  // namespace

CipherState::CipherState(ConstBytes key, std::uint64_t nonce) : nonce_(nonce) {
  assert(key.size() == kKeySize);
  std::memcpy(key_.data(), key.data(), kKeySize);
}

void CipherState::seal(ConstBytes ad, ConstBytes plaintext, std::byte* into) {
  if (nonce_ >= kMostMessages) fail(EOVERFLOW, "a key that was used too often");
  encrypt(std::as_const(key_).bytes(), nonce_++, ad, plaintext, into);
}

bool CipherState::open(ConstBytes ad, ConstBytes sealed, std::byte* into) {
  if (sealed.size() < kTagSize || nonce_ >= kMostMessages) return false;
  if (::crypto_aead_chacha20poly1305_ietf_decrypt(
          raw(into), nullptr, nullptr, raw(sealed.data()), sealed.size(), raw(ad.data()), ad.size(),
          nonce_bytes(nonce_).data(), raw(key_.data())) != 0)
    return false;
  ++nonce_;
  return true;
}

void CipherState::rekey() {
  Wiped<kKeySize + kTagSize> fresh;
  const std::array<std::byte, kKeySize> zeroes{};
  encrypt(std::as_const(key_).bytes(), kRekeyNonce, {}, zeroes, fresh.data());
  std::memcpy(key_.data(), fresh.data(), kKeySize);
}

SymmetricState::SymmetricState(ConstBytes protocol_name) {
  if (protocol_name.size() <= hash_.size())
    std::copy(protocol_name.begin(), protocol_name.end(), hash_.begin());
  else
    ::crypto_hash_sha256(raw(hash_.data()), raw(protocol_name.data()), protocol_name.size());
  std::copy(hash_.begin(), hash_.end(), chaining_key_.bytes().begin());
}

void SymmetricState::mix_hash(ConstBytes data) {
  crypto_hash_sha256_state state;
  ::crypto_hash_sha256_init(&state);
  ::crypto_hash_sha256_update(&state, raw(hash_.data()), hash_.size());
  ::crypto_hash_sha256_update(&state, raw(data.data()), data.size());
  ::crypto_hash_sha256_final(&state, raw(hash_.data()));
}

void SymmetricState::mix_key(ConstBytes input) {
  const auto outputs = hkdf<2>(chaining_key_.bytes(), input);
  std::memcpy(chaining_key_.data(), outputs.data(), 32);
  cipher_ = CipherState(outputs.bytes().subspan(32, 32));
  has_key_ = true;
}

void SymmetricState::mix_key_and_hash(ConstBytes input) {
  const auto outputs = hkdf<3>(chaining_key_.bytes(), input);
  std::memcpy(chaining_key_.data(), outputs.data(), 32);
  mix_hash(outputs.bytes().subspan(32, 32));
  cipher_ = CipherState(outputs.bytes().subspan(64, 32));
  has_key_ = true;
}

void SymmetricState::encrypt_and_hash(ConstBytes plaintext, std::byte* into) {
  if (has_key_)
    cipher_.seal(hash_, plaintext, into);
  else
    std::copy(plaintext.begin(), plaintext.end(), into);
  mix_hash({into, plaintext.size() + overhead()});
}

bool SymmetricState::decrypt_and_hash(ConstBytes sealed, std::byte* into) {
  if (!has_key_) std::copy(sealed.begin(), sealed.end(), into);
  else if (!cipher_.open(hash_, sealed, into)) return false;
  mix_hash(sealed);
  return true;
}

std::pair<CipherState, CipherState> SymmetricState::split() const {
  const auto outputs = hkdf<2>(chaining_key_.bytes(), {});
  return {CipherState(outputs.bytes().first(32)), CipherState(outputs.bytes().subspan(32, 32))};
}

}  // namespace r3
