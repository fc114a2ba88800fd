// SPDX-License-Identifier: Apache-2.0
// Memory for secrets: 32-byte keys in locked, guarded pages, short-lived buffers that are wiped, and a
// process that leaves no core file behind. Knows nothing of what the keys are for.
#pragma once

#include <array>
#include <memory>

#include "libcommon/base/bytes.hpp"

namespace r3 {

inline constexpr std::size_t kKeySize = 32;
using PublicKey = std::array<std::byte, kKeySize>;

// libsodium wants to be started once; any thread may call, any number of times. Throws if it cannot.
void start_crypto();

void wipe(Bytes bytes) noexcept;

// A buffer that is wiped when it goes away. Not locked: for what lives as long as one connection.
template <std::size_t Size>
class Wiped {
 public:
  Wiped() = default;
  Wiped(const Wiped&) = default;
  Wiped& operator=(const Wiped&) = default;
  ~Wiped() { wipe(bytes_); }

  Bytes bytes() { return bytes_; }
  ConstBytes bytes() const { return bytes_; }
  std::byte* data() { return bytes_.data(); }
  const std::byte* data() const { return bytes_.data(); }

 private:
  std::array<std::byte, Size> bytes_{};
};

// A long-lived 32-byte secret (an X25519 private key or a pre-shared key) in memory that is locked when
// the system allows it, guarded, and wiped with the last copy. Copies share the bytes, which never
// change: any thread may read them.
class SecretKey {
 public:
  SecretKey() = default;  // none
  static SecretKey generate();
  static SecretKey copy_of(ConstBytes bytes);  // exactly 32 of them

  explicit operator bool() const { return bytes_ != nullptr; }
  ConstBytes bytes() const { return {bytes_.get(), kKeySize}; }
  // The X25519 public key that belongs to it.
  PublicKey public_key() const;

 private:
  std::shared_ptr<const std::byte> bytes_;
};

// No core files, no ptrace by processes of the same user, and /proc/self belongs to root: to be called
// by every process that holds keys, after it opened what it needs there (pagemap, mem).
void forbid_dumps();

}  // namespace r3
