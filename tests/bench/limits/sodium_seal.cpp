// SPDX-License-Identifier: Apache-2.0
// What libsodium's ChaCha20-Poly1305 can do by itself: one thread seals and opens BLOCK bytes over and over.
// Prints one line of JSON: both by the clock, and the CPU time of a block for one of the two.
//
//   sodium_seal BLOCK SECONDS
#include <sodium.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

int seal(std::uint64_t block, double seconds) {
  std::vector<unsigned char> plain(block), sealed(block + crypto_aead_chacha20poly1305_ietf_ABYTES);
  unsigned char nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {}, key[32] = {1};
  double done = 0;
  const double before = cpu_seconds();
  const auto start = Clock::now();
  std::chrono::duration<double> took{};
  for (; took.count() < seconds; done += 2, took = Clock::now() - start) {
    crypto_aead_chacha20poly1305_ietf_encrypt(sealed.data(), nullptr, plain.data(), block, nullptr, 0,
                                              nullptr, nonce, key);
    if (crypto_aead_chacha20poly1305_ietf_decrypt(plain.data(), nullptr, nullptr, sealed.data(),
                                                  sealed.size(), nullptr, 0, nonce, key) != 0)
      return 1;
  }
  const double ops = done / took.count();
  std::puts(Json().add("ops", ops).add("mb", ops * static_cast<double>(block) * 1e-6)
                .add("cpu_us", (cpu_seconds() - before) / done * 1e6).text().c_str());
  return 0;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  if (argc == 3 && sodium_init() >= 0) return r3::seal(r3::parse_size(argv[1]), std::stod(argv[2]));
  std::fputs("usage: sodium_seal BLOCK SECONDS\n", stderr);
  return 2;
}
