// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/secret.hpp"

#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cassert>
#include <new>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

std::shared_ptr<std::byte> locked_bytes() {
  start_crypto();
  auto* bytes = static_cast<std::byte*>(::sodium_malloc(kKeySize));
  if (!bytes) throw std::bad_alloc();
  return {bytes, [](std::byte* used) { ::sodium_free(used); }};
}

}  // namespace

void start_crypto() {
  if (::sodium_init() < 0) fail(ENOSYS, "libsodium");
}

void wipe(Bytes bytes) noexcept {
  ::sodium_memzero(bytes.data(), bytes.size());
}

SecretKey SecretKey::generate() {
  SecretKey key;
  auto bytes = locked_bytes();
  ::randombytes_buf(bytes.get(), kKeySize);
  key.bytes_ = std::move(bytes);
  return key;
}

SecretKey SecretKey::copy_of(ConstBytes from) {
  assert(from.size() == kKeySize);
  SecretKey key;
  auto bytes = locked_bytes();
  std::memcpy(bytes.get(), from.data(), kKeySize);
  key.bytes_ = std::move(bytes);
  return key;
}

PublicKey SecretKey::public_key() const {
  assert(bytes_);
  PublicKey key;
  ::crypto_scalarmult_base(reinterpret_cast<unsigned char*>(key.data()),
                           reinterpret_cast<const unsigned char*>(bytes_.get()));
  return key;
}

void forbid_dumps() {
  const rlimit none{0, 0};
  check(::setrlimit(RLIMIT_CORE, &none), "forbid core files");
  check(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE");
}

}  // namespace r3
