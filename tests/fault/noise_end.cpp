// SPDX-License-Identifier: Apache-2.0
// One side of r3-noise/1 on descriptor 3, for a test with somebody else's implementation on the other:
//
//   noise_end client|server DIRECTORY
//
// Takes the keys that are files in DIRECTORY (own, server, psk), sends and expects the stream that
// tests/system/noise-peer/peer.go describes, and prints the channel binding and the peer's key.
#include <sodium.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/keys.hpp"
#include "libcommon/net/secure_stream.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int kSocket = 3;
constexpr std::size_t kSmallRecords = 140'000;
constexpr std::size_t kBulkBytes = 8 * r3::MiB;

class Generator {
 public:
  void fill(r3::Bytes bytes) {
    for (std::byte& byte : bytes) {
      state_ = state_ * 6364136223846793005U + 1442695040888963407U;
      byte = static_cast<std::byte>(state_ >> 56);
    }
  }

 private:
  std::uint64_t state_ = 1;
};

void send_all(r3::SecureStream& stream) {
  Generator data;
  std::vector<std::byte> bytes(r3::MiB);
  for (std::size_t i = 0; i < kSmallRecords; ++i) {
    const r3::Bytes record = r3::Bytes(bytes).first(1 + i % 61);
    data.fill(record);
    stream.write(record);
  }
  for (std::size_t sent = 0; sent < kBulkBytes; sent += bytes.size()) {
    data.fill(bytes);
    stream.write(bytes);
  }
  stream.finish();
}

void receive_all(r3::SecureStream& stream) {
  std::size_t left = kBulkBytes;
  for (std::size_t i = 0; i < kSmallRecords; ++i) left += 1 + i % 61;
  Generator data;
  std::vector<std::byte> got(100'000), expected(got.size());
  while (const std::size_t n = stream.read_some(got)) {
    data.fill(r3::Bytes(expected).first(n));
    if (n > left || !std::equal(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(n),
                                expected.begin()))
      throw r3::ProtocolError("wrong bytes");
    left -= n;
  }
  if (left > 0) throw r3::ProtocolError("an end too early");
}

r3::SecretKey key_in(const std::string& path, r3::KeyKind kind) {
  return std::filesystem::exists(path) ? r3::read_secret_key(kind, path) : r3::SecretKey();
}

r3::SecureSession meet(r3::Stream& plain, const std::string& role, const std::string& directory) {
  const auto own = key_in(directory + "/own", r3::KeyKind::secret);
  const auto psk = key_in(directory + "/psk", r3::KeyKind::shared);
  if (role == "server") return r3::server_handshake(plain, {own, psk, true}, 10s);
  r3::NoiseKeys keys{own, {}, psk};
  const std::string server = directory + "/server";
  if (std::filesystem::exists(server)) keys.peer = r3::read_public_key(server);
  return r3::client_handshake(plain, keys, 10s);
}

void talk(const std::string& role, const std::string& directory) {
  r3::Stop stop;
  r3::FdStream plain(kSocket, kSocket, stop);
  r3::SecureStream stream(plain, meet(plain, role, directory));
  std::thread sender([&] { send_all(stream); });  // an error there ends the program
  receive_all(stream);
  sender.join();
  std::array<char, 65> binding;
  ::sodium_bin2hex(binding.data(), binding.size(),
                   reinterpret_cast<const unsigned char*>(stream.binding().data()),
                   stream.binding().size());
  std::cout << binding.data();
  if (stream.peer()) std::cout << ' ' << r3::to_text(*stream.peer());
  std::cout << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw std::invalid_argument("usage: noise_end client|server DIRECTORY");
    talk(argv[1], argv[2]);
    return 0;
  } catch (...) {
    std::cerr << "noise_end: " << r3::text_of_current_exception() << std::endl;
    return 1;
  }
}
