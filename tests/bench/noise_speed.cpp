// SPDX-License-Identifier: Apache-2.0
// What encryption costs a connection: one thread writes to a SecureStream over a socket pair, another
// reads, beside libsodium's own ChaCha20-Poly1305 on records of the same size and a plain stream, in
// turns. Prints one line of JSON for each size of write: medians, in megabytes for each second of CPU
// time of the one thread (so that other load counts less), and for both threads by the clock.
//
//   noise_speed [ROUNDS]
#include <sodium.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/net/secure_stream.hpp"

namespace r3 {

namespace {

constexpr std::size_t kBytes = 96 * MiB;  // a round moves

double cpu_seconds() {
  timespec now;
  check(::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), "clock_gettime");
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double megabytes_a_second(double seconds) {
  return static_cast<double>(kBytes) * 1e-6 / seconds;
}

struct Rates {
  double write, read, clock;
};

struct Round {
  Rates libsodium, plain, secure;
};

// libsodium alone, on records as large as those that writes of that size become.
void limits(std::size_t write_size, Round& round) {
  const std::size_t length = std::min(write_size, kMostPlaintext);
  std::vector<unsigned char> plain(write_size + length), sealed(length + kTagSize);
  std::array<unsigned char, 32> key{};
  std::array<unsigned char, 12> nonce{};
  const std::size_t records = kBytes / length;
  double begin = cpu_seconds();
  for (std::size_t i = 0; i < records; ++i)
    ::crypto_aead_chacha20poly1305_ietf_encrypt(sealed.data(), nullptr, &plain[i * length % write_size],
                                                length, nullptr, 0, nullptr, nonce.data(), key.data());
  round.libsodium.write = megabytes_a_second(cpu_seconds() - begin);
  begin = cpu_seconds();
  for (std::size_t i = 0; i < records; ++i)
    if (::crypto_aead_chacha20poly1305_ietf_decrypt(plain.data(), nullptr, nullptr, sealed.data(),
                                                    sealed.size(), nullptr, 0, nonce.data(),
                                                    key.data()) != 0 && i == 0)
      std::abort();
  round.libsodium.read = megabytes_a_second(cpu_seconds() - begin);
}

// One thread writes, another reads until the end.
Rates transfer(Stream& writer, Stream& reader, std::size_t write_size) {
  Rates rates;
  const std::vector<std::byte> from(write_size);
  std::vector<std::byte> into(std::max<std::size_t>(write_size, 128 * KiB));
  const auto begin = std::chrono::steady_clock::now();
  std::thread reading([&] {
    const double start = cpu_seconds();
    while (reader.read_some(into) > 0) {
    }
    rates.read = megabytes_a_second(cpu_seconds() - start);
  });
  const double start = cpu_seconds();
  for (std::size_t sent = 0; sent < kBytes; sent += write_size) writer.write(from);
  writer.finish();
  rates.write = megabytes_a_second(cpu_seconds() - start);
  reading.join();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  rates.clock = megabytes_a_second(took.count());
  return rates;
}

void ours(std::size_t write_size, Round& round) {
  const Stop stop;
  const SocketPair plain = make_socket_pair(), secure = make_socket_pair();
  FdStream plain_here(plain.ours.get(), plain.ours.get(), stop);
  FdStream plain_there(plain.theirs.get(), plain.theirs.get(), stop);
  round.plain = transfer(plain_here, plain_there, write_size);
  const std::array<std::byte, kKeySize> key{};
  const CipherState cipher(key);
  const SecureSession session{NoisePattern::xk, cipher, cipher, {}, {}};
  FdStream here(secure.ours.get(), secure.ours.get(), stop);
  FdStream there(secure.theirs.get(), secure.theirs.get(), stop);
  SecureStream writer(here, session), reader(there, session);
  round.secure = transfer(writer, reader, write_size);
}

template <class Value>
double median(const std::vector<Round>& rounds, Value value_of) {
  std::vector<double> values;
  for (const Round& round : rounds) values.push_back(value_of(round));
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void measure(std::size_t write_size, int count) {
  std::vector<Round> rounds(static_cast<std::size_t>(count));
  for (Round& round : rounds) {
    limits(write_size, round);
    ours(write_size, round);
  }
  Json line;
  line.add("write_size", std::uint64_t{write_size}).add("rounds", count);
  const auto add = [&](const char* name, auto value_of) { line.add(name, median(rounds, value_of)); };
  add("libsodium_seal", [](const Round& r) { return r.libsodium.write; });
  add("plain_write", [](const Round& r) { return r.plain.write; });
  add("write", [](const Round& r) { return r.secure.write; });
  add("write_to_libsodium", [](const Round& r) { return r.secure.write / r.libsodium.write; });
  add("libsodium_open", [](const Round& r) { return r.libsodium.read; });
  add("plain_read", [](const Round& r) { return r.plain.read; });
  add("read", [](const Round& r) { return r.secure.read; });
  add("read_to_libsodium", [](const Round& r) { return r.secure.read / r.libsodium.read; });
  add("plain_both_by_the_clock", [](const Round& r) { return r.plain.clock; });
  add("both_by_the_clock", [](const Round& r) { return r.secure.clock; });
  std::puts(line.text().c_str());
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  r3::start_crypto();
  for (const std::size_t size : {4 * r3::KiB, 64 * r3::KiB, r3::MiB})
    r3::measure(size, argc > 1 ? std::atoi(argv[1]) : 5);
}
