// SPDX-License-Identifier: Apache-2.0
// Handshake and records over socket pairs: what an honest peer gets.
#include "libcommon/net/secure_stream.hpp"

#include <gtest/gtest.h>

#include <future>
#include <optional>
#include <random>
#include <vector>

#include "libcommon/base/error.hpp"
#include "tests/unit/noise_keys.hpp"
#include "tests/unit/test_bytes.hpp"

namespace {

using namespace std::chrono_literals;
using r3::Bytes;
using r3::ConstBytes;
using r3::SecretKey;
using r3::SecureStream;
using r3_test::Keys;
using r3_test::keys_for;
using r3::test::random_bytes;
using Buffer = std::vector<std::byte>;

// Two ends over a socket pair; the handshake is run by two threads.
struct Pair {
  explicit Pair(const Keys& keys) {
    auto theirs = std::async(std::launch::async,
                             [&] { return r3::server_handshake(there, keys.server, 10s); });
    client.emplace(here, r3::client_handshake(here, keys.client, 10s));
    server.emplace(there, theirs.get());
  }
  r3::Stop stop;
  r3::SocketPair sockets = r3::make_socket_pair();
  r3::FdStream here{sockets.ours.get(), sockets.ours.get(), stop};
  r3::FdStream there{sockets.theirs.get(), sockets.theirs.get(), stop};
  std::optional<SecureStream> client, server;
};

TEST(SecureStream, ShakesHandsInEveryPattern) {
  for (const auto pattern : r3::kNoisePatterns) {
    const Keys keys = keys_for(pattern);
    Pair pair(keys);
    EXPECT_EQ(pattern, pair.client->pattern());
    EXPECT_EQ(pattern, pair.server->pattern());
    EXPECT_EQ(pair.client->binding(), pair.server->binding());
    EXPECT_EQ(keys.client.peer, pair.client->peer());
    EXPECT_EQ(bool(keys.client.own), pair.server->peer().has_value());
    if (keys.client.own) {
      EXPECT_EQ(keys.client.own.public_key(), pair.server->peer());
    }
    pair.client->write(r3::as_bytes("question"));
    Buffer got(8);
    EXPECT_EQ(8u, pair.server->read_full(got));
    EXPECT_EQ("question", r3::as_text(got));
    pair.server->finish();
    EXPECT_EQ(0u, pair.client->read_some(got));
  }
}

TEST(SecureStream, CarriesBothWaysAtOnceInPiecesOfAnySize) {
  Pair pair(keys_for(r3::NoisePattern::xk));
  const Buffer data = random_bytes(3'000'000, 1);
  const auto send = [&](SecureStream& stream, unsigned seed) {
    std::mt19937 random(seed);
    for (ConstBytes rest = data; !rest.empty();) {
      std::vector<ConstBytes> parts;
      for (auto i = random() % 5; i < 5; ++i) {
        const std::size_t most = random() % 3 ? 300 : 150'000;
        parts.push_back(rest.first(std::min<std::size_t>(random() % most, rest.size())));
        rest = rest.subspan(parts.back().size());
      }
      stream.write_parts(parts);
    }
    stream.finish();
  };
  const auto receive = [&](SecureStream& stream, unsigned seed) {
    std::mt19937 random(seed);
    Buffer got;
    for (;;) {
      Buffer piece(1 + random() % (random() % 3 ? 300 : 150'000));
      const std::size_t n = stream.read_some(piece);
      if (n == 0) break;
      got.insert(got.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(n));
    }
    EXPECT_TRUE(got == data);
  };
  auto a = std::async(std::launch::async, send, std::ref(*pair.client), 2);
  auto b = std::async(std::launch::async, send, std::ref(*pair.server), 3);
  auto c = std::async(std::launch::async, receive, std::ref(*pair.client), 4);
  receive(*pair.server, 5);
  a.get();
  b.get();
  c.get();
}

TEST(SecureStream, TellsABrokenOffStreamFromItsEnd) {
  Pair pair(keys_for(r3::NoisePattern::nn_psk0));
  pair.client->write(r3::as_bytes("x"));
  pair.here.finish();
  Buffer got(10);
  EXPECT_EQ(1u, pair.server->read_some(got));
  try {
    pair.server->read_some(got);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(ECONNRESET, error.code().value());
  }
}

TEST(SecureStream, StopsWaitingWhenAsked) {
  Pair pair(keys_for(r3::NoisePattern::nn_psk0));
  auto reader = std::async(std::launch::async, [&] {
    Buffer got(10);
    pair.server->read_some(got);
  });
  pair.stop.request();
  try {
    reader.get();
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(ECANCELED, error.code().value());
  }
}

TEST(SecureStream, GivesUpASilentClientAtTheDeadline) {
  r3::Stop stop;
  const auto sockets = r3::make_socket_pair();
  r3::FdStream stream(sockets.ours.get(), sockets.ours.get(), stop);
  try {
    r3::server_handshake(stream, keys_for(r3::NoisePattern::nn_psk0).server, 1ms);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(ETIMEDOUT, error.code().value());
  }
}

}  // namespace
