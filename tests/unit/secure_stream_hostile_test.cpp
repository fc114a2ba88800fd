// SPDX-License-Identifier: Apache-2.0
// What somebody on the wire, or a peer with the wrong keys, gets out of a handshake:
// an error on the side that was lied to, never a byte, never a wait for ever.
#include <gtest/gtest.h>
#include <sodium.h>
#include <sys/socket.h>

#include <functional>
#include <future>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_link.hpp"
#include "libcommon/net/secure_stream.hpp"
#include "tests/unit/noise_keys.hpp"
#include "tests/unit/noise_script.hpp"

namespace {

using namespace std::chrono_literals;
using r3::Bytes;
using r3::ConstBytes;
using r3::NoisePattern;
using r3::SecretKey;
using r3::SecureStream;
using r3_test::Keys;
using r3_test::keys_for;
using r3_test::Buffer;
using r3_test::Script;

// One end of a socket pair; a tamperer sees all that it writes.
class End final : public r3::Stream {
 public:
  using Tamper = std::function<void(Buffer& all_written_so_far, std::size_t first_new)>;
  explicit End(r3::Fd socket) : socket_(std::move(socket)), plain_(socket_.get(), socket_.get(), stop_) {}
  std::size_t read_some(Bytes into) override { return plain_.read_some(into); }
  void write_parts(std::span<const ConstBytes> parts) override {
    const std::size_t first = written.size();
    for (const ConstBytes part : parts) written.insert(written.end(), part.begin(), part.end());
    if (tamper) tamper(written, first);
    if (written.size() > first) plain_.write(ConstBytes(written).subspan(first));
    if (cut) leave();
  }
  void finish() override { plain_.finish(); }
  void set_deadline(Deadline deadline) override { plain_.set_deadline(deadline); }
  void leave() { ::shutdown(socket_.get(), SHUT_RDWR); }

  Buffer written;
  Tamper tamper;
  bool cut = false;

 private:
  r3::Stop stop_;
  r3::Fd socket_;
  r3::FdStream plain_;
};

struct Outcome {
  std::optional<r3::SecureSession> client, server;
  std::string client_error, server_error;
};

// A handshake between the two; who fails leaves.
struct Meeting {
  Meeting() : Meeting(r3::make_socket_pair()) {}
  explicit Meeting(r3::SocketPair sockets)
      : client(std::move(sockets.ours)), server(std::move(sockets.theirs)) {}
  Outcome run(const Keys& keys) {
    Outcome outcome;
    const auto one = [](End& end, auto handshake, auto& session, std::string& error) {
      try {
        session = handshake();
      } catch (const std::exception& failure) {
        error = failure.what();
        end.leave();
      }
    };
    auto other = std::async(std::launch::async, [&] {
      one(server, [&] { return r3::server_handshake(server, keys.server, 10s); }, outcome.server,
          outcome.server_error);
    });
    one(client, [&] { return r3::client_handshake(client, keys.client, 10s); }, outcome.client,
        outcome.client_error);
    other.get();
    return outcome;
  }
  End client, server;
};

// How long each direction of an honest handshake is.
std::pair<std::size_t, std::size_t> lengths(const Keys& keys) {
  Meeting meeting;
  meeting.run(keys);
  return {meeting.client.written.size(), meeting.server.written.size()};
}

TEST(HostileHandshake, FailsWithAnyByteChanged) {
  for (const NoisePattern pattern : r3::kNoisePatterns) {
    const Keys keys = keys_for(pattern);
    const auto [from_client, from_server] = lengths(keys);
    EXPECT_GE(from_client, 58u);
    for (std::size_t at = 0; at < from_client + from_server; ++at)
      for (const std::byte bit : {std::byte{0x01}, std::byte{0x80}}) {
        Meeting meeting;
        const bool client_lies = at < from_client;
        const std::size_t offset = client_lies ? at : at - from_client;
        (client_lies ? meeting.client : meeting.server).tamper = [&](Buffer& all, std::size_t first) {
          if (offset >= first && offset < all.size()) all[offset] ^= bit;
        };
        const Outcome outcome = meeting.run(keys);
        const auto& victim = client_lies ? outcome.server : outcome.client;
        EXPECT_FALSE(victim) << r3::HandshakeState::protocol_name(pattern) << " byte " << at;
      }
  }
}

TEST(HostileHandshake, FailsWhenCutAtAnyByte) {
  for (const NoisePattern pattern : r3::kNoisePatterns) {
    const Keys keys = keys_for(pattern);
    const auto [from_client, from_server] = lengths(keys);
    for (std::size_t at = 0; at < from_client + from_server; ++at) {
      Meeting meeting;
      const bool client_leaves = at < from_client;
      const std::size_t length = client_leaves ? at : at - from_client;
      End& leaver = client_leaves ? meeting.client : meeting.server;
      leaver.tamper = [&](Buffer& all, std::size_t) {
        if (all.size() <= length) return;
        all.resize(length);
        leaver.cut = true;
      };
      const Outcome outcome = meeting.run(keys);
      EXPECT_FALSE(client_leaves ? outcome.server : outcome.client)
          << r3::HandshakeState::protocol_name(pattern) << " byte " << at;
    }
  }
}

// What a new server makes of the bytes: whether it ever delivers anything.
bool delivers(const r3::ServerKeys& keys, const Buffer& bytes) {
  Script script(bytes);
  try {
    SecureStream stream(script, r3::server_handshake(script, keys, 10s));
    Buffer got(1000);
    stream.read_some(got);
    return true;
  } catch (const r3::ProtocolError&) {
    return false;
  } catch (const std::system_error&) {
    return false;
  }
}

TEST(HostileHandshake, IsWorthNothingReplayed) {
  for (const NoisePattern pattern : r3::kNoisePatterns) {
    const Keys keys = keys_for(pattern);
    Meeting meeting;
    const Outcome outcome = meeting.run(keys);
    SecureStream(meeting.client, outcome.client.value()).write(r3::as_bytes("delete everything"));
    EXPECT_FALSE(delivers(keys.server, meeting.client.written));
    // The server's own bytes come back to it.
    EXPECT_FALSE(delivers(keys.server, meeting.server.written));
  }
}

TEST(HostileHandshake, IsNotFooledByItsOwnMessages) {
  for (const NoisePattern pattern : r3::kNoisePatterns) {
    const Keys keys = keys_for(pattern);
    Meeting meeting;
    // The server sends back what the client sent, but for the preamble.
    auto mirror = std::async(std::launch::async, [&] {
      Buffer got(58);
      meeting.server.read_full(got);
      meeting.server.write(ConstBytes(got).subspan(8));
    });
    EXPECT_THROW(r3::client_handshake(meeting.client, keys.client, 10s), r3::ProtocolError);
    mirror.get();
  }
}

TEST(HostileHandshake, RefusesOtherKeys) {
  for (const NoisePattern pattern : r3::kNoisePatterns) {
    for (int what = 0; what < 2; ++what) {
      Keys keys = keys_for(pattern);
      if (what == 0 && keys.client.peer) keys.client.peer = SecretKey::generate().public_key();
      else if (what == 1 && keys.client.psk) keys.client.psk = SecretKey::generate();
      else continue;
      const Outcome outcome = Meeting().run(keys);
      EXPECT_FALSE(outcome.client || outcome.server);
      EXPECT_EQ("the handshake failed: the peer has another key, or is not what it says",
                outcome.server_error);
      EXPECT_EQ("the peer left during the handshake: its keys or version may differ",
                outcome.client_error);
    }
  }
}

TEST(HostileHandshake, RefusesAPatternThatTheServerDoesNotWant) {
  for (const NoisePattern wanted : r3::kNoisePatterns)
    for (const NoisePattern asked : r3::kNoisePatterns) {
      Keys keys = keys_for(wanted);
      keys.client = keys_for(asked).client;
      if (keys.client.peer && keys.server.own) keys.client.peer = keys.server.own.public_key();
      if (keys.client.psk && keys.server.psk) keys.client.psk = keys.server.psk;
      // A server that takes anonymous clients still takes known ones.
      const bool allowed =
          wanted == asked || (wanted == NoisePattern::nk && asked == NoisePattern::xk);
      const Outcome outcome = Meeting().run(keys);
      EXPECT_EQ(allowed, outcome.server.has_value());
      EXPECT_EQ(allowed, outcome.client.has_value());
    }
}

TEST(HostileHandshake, RefusesPointsOfSmallOrder) {
  // The public key 0, whose products are all zero (RFC 7748, section 6.1): an attacker knows the secret
  // that follows, and all else in the message is right.
  const Keys keys = keys_for(NoisePattern::nk);
  Buffer bytes = {std::byte{'R'}, std::byte{'3'}, std::byte{'N'}, std::byte{1}, std::byte{4}};
  bytes.resize(8);
  r3::SymmetricState state(r3::as_bytes("Noise_NK_25519_ChaChaPoly_SHA256"));
  Buffer prologue(10);
  std::memcpy(prologue.data(), "r3-noise/1", prologue.size());
  prologue.insert(prologue.end(), bytes.begin(), bytes.end());
  state.mix_hash(prologue);
  state.mix_hash(keys.server.own.public_key());
  bytes.insert(bytes.end(), {std::byte{0}, std::byte{48}});
  bytes.resize(bytes.size() + 48);
  const Buffer zeroes(32);
  state.mix_hash(zeroes);
  state.mix_key(zeroes);
  state.encrypt_and_hash({}, &bytes[10 + 32]);
  Script script(bytes);
  EXPECT_THROW(r3::server_handshake(script, keys.server, 10s), r3::ProtocolError);
  EXPECT_TRUE(script.written.empty());
}

TEST(HostileHandshake, RefusesKeysThatMakeNoConnection) {
  const auto key = SecretKey::generate();
  EXPECT_THROW(r3::client_pattern({}), std::invalid_argument);
  EXPECT_THROW(r3::client_pattern({key, {}, {}}), std::invalid_argument);
  EXPECT_THROW(r3::client_pattern({key, {}, key}), std::invalid_argument);
  EXPECT_THROW(r3::client_pattern({{}, key.public_key(), key}), std::invalid_argument);
}

// A stream that breaks off is no end, in what r3 uses either.
TEST(SecureLink, TellsABrokenOffStreamFromItsEnd) {
  for (const bool finished : {true, false}) {
    Meeting meeting;
    const Outcome met = meeting.run(keys_for(NoisePattern::nn_psk0));
    r3::SocketPair pair = r3::make_socket_pair();
    const auto client =
        r3::make_secure_link(r3::make_plain_link(r3::Channel(std::move(pair.ours))), *met.client);
    const auto server =
        r3::make_secure_link(r3::make_plain_link(r3::Channel(std::move(pair.theirs))), *met.server);
    const iovec part{const_cast<char*>("x"), 1};
    r3::Stop stop;
    r3::write_all(*client, {&part, 1}, stop, 10'000);
    if (finished) client->finish();
    else client->shut_down();
    std::array<std::byte, 2> into;
    if (finished) EXPECT_EQ(r3::read_all(*server, into, stop, 10'000), 1u);
    else EXPECT_THROW(r3::read_all(*server, into, stop, 10'000), std::system_error);
  }
}

}  // namespace
