// SPDX-License-Identifier: Apache-2.0
// What libsodium's ChaCha20-Poly1305 can do for one connection: one thread seals blocks and another opens
// some, both at once, as the two ends do; nothing goes from one to the other. Two busy processors are often
// slower than one beside an idle one, so that a single thread would be no limit. Prints one line of JSON: the
// slower of the two by the clock, and the CPU time of a block at one end.
//
//   sodium_seal BLOCK SECONDS
#include <sodium.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using Buffer = std::vector<unsigned char>;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

double count(double seconds, const std::function<void()>& act) {
  double done = 0;
  const auto start = Clock::now();
  std::chrono::duration<double> took{};
  for (; took.count() < seconds; ++done, took = Clock::now() - start) act();
  return done / took.count();
}

void seal_and_open(std::uint64_t block, double seconds) {
  const unsigned char nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {}, key[32] = {1};
  const Buffer plain(block);
  Buffer sealed(block + crypto_aead_chacha20poly1305_ietf_ABYTES), arrived(sealed), opened(block);
  const auto seal = [&](Buffer& into) {
    crypto_aead_chacha20poly1305_ietf_encrypt(into.data(), nullptr, plain.data(), block, nullptr, 0,
                                              nullptr, nonce, key);
  };
  seal(arrived);
  double opening = 0, sealing = 0;
  const double before = cpu_seconds();
  {
    std::jthread other([&] {
      opening = count(seconds, [&] {
        if (crypto_aead_chacha20poly1305_ietf_decrypt(opened.data(), nullptr, nullptr, arrived.data(),
                                                      arrived.size(), nullptr, 0, nonce, key) != 0)
          std::abort();
      });
    });
    sealing = count(seconds, [&] { seal(sealed); });
  }
  const double cpu = cpu_seconds() - before;
  const double ops = std::min(opening, sealing);
  std::puts(Json().add("ops", ops).add("mb", ops * static_cast<double>(block) * 1e-6)
                .add("cpu_us", cpu / (opening + sealing) / seconds * 1e6).text().c_str());
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  if (argc != 3 || sodium_init() < 0)
    return std::fputs("usage: sodium_seal BLOCK SECONDS\n", stderr), 2;
  r3::seal_and_open(r3::parse_size(argv[1]), std::stod(argv[2]));
}
