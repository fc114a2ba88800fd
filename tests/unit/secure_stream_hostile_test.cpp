// SPDX-License-Identifier: Apache-2.0
// What somebody on the wire, or a peer with the wrong keys, gets out of a handshake and of records:
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

namespace {

using namespace std::chrono_literals;
using r3::Bytes;
using r3::ConstBytes;
using r3::NoisePattern;
using r3::SecretKey;
using r3::SecureStream;
using r3_test::Keys;
using r3_test::keys_for;
using Buffer = std::vector<std::byte>;

// Reads from bytes that are given, and keeps what is written.
class Script final : public r3::Stream {
 public:
  explicit Script(Buffer input = {}) : input_(std::move(input)) {}
  std::size_t read_some(Bytes into) override {
    const std::size_t n = std::min(into.size(), input_.size() - taken_);
    std::copy_n(input_.begin() + static_cast<std::ptrdiff_t>(taken_), n, into.begin());
    taken_ += n;
    return n;
  }
  void write_parts(std::span<const ConstBytes> parts) override {
    for (const ConstBytes part : parts) written.insert(written.end(), part.begin(), part.end());
  }
  void finish() override {}
  void set_deadline(Deadline) override {}
  Buffer written;

 private:
  Buffer input_;
  std::size_t taken_ = 0;
};

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

// Three records from one side of a session, and the other side to read them.
class Records : public ::testing::Test {
 protected:
  Records() {
    for (const char* text : {"one", "two", "three"}) {
      Buffer record(std::strlen(text) + r3::kRecordOverhead);
      sealer_.seal(r3::as_bytes(text), record.data());
      records_.push_back(record);
    }
  }
  // What a reader gets of these records before it throws.
  std::string read(const std::vector<Buffer>& records, bool other_direction = false) const {
    Buffer all;
    for (const Buffer& record : records) all.insert(all.end(), record.begin(), record.end());
    return read(all, other_direction);
  }
  std::string read(const Buffer& all, bool other_direction = false) const {
    const r3::CipherState mine(other_direction ? theirs_ : ours_);
    Script script(all);
    SecureStream stream(script, {NoisePattern::xk, mine, mine, {}, {}});
    std::string text;
    try {
      for (;;) {
        std::byte byte;
        if (stream.read_some({&byte, 1}) == 0) return text + " end";
        text += static_cast<char>(byte);
      }
    } catch (const r3::ProtocolError&) {
      text += " refused";
    } catch (const std::system_error& error) {
      return text + (error.code().value() == ECONNRESET ? " lost" : " ?");
    }
    std::byte byte;
    EXPECT_THROW(stream.read_some({&byte, 1}), r3::ProtocolError) << "an error is final";
    return text;
  }
  const Buffer ours_ = Buffer(32, std::byte{1});
  const Buffer theirs_ = Buffer(32, std::byte{2});
  r3::RecordSealer sealer_{r3::CipherState(ours_)};
  std::vector<Buffer> records_;
};

TEST_F(Records, PassInOrderOnly) {
  const auto& r = records_;
  EXPECT_EQ("onetwothree lost", read(r));
  EXPECT_EQ(" refused", read({r[1], r[0], r[2]}));
  EXPECT_EQ("one refused", read({r[0], r[2], r[1]}));
  EXPECT_EQ("one refused", read({r[0], r[0], r[1], r[2]}));
  EXPECT_EQ("one refused", read({r[0], r[2]}));
  EXPECT_EQ(" refused", read(r, true)) << "reflected";
}

TEST_F(Records, EndOnlyWhenThePeerSaysSo) {
  Buffer end(r3::kRecordOverhead);
  sealer_.seal({}, end.data());
  const auto& r = records_;
  EXPECT_EQ("onetwothree end", read({r[0], r[1], r[2], end}));
  EXPECT_EQ("one refused", read({r[0], end}));
  EXPECT_EQ("onetwothree end", read({r[0], r[1], r[2], end, r[0]})) << "nothing counts after it";
}

TEST_F(Records, AreRefusedForGoodAfterOneThatIsWrong) {
  r3::RecordOpener opener{r3::CipherState(ours_)};
  std::array<std::byte, 16> into;
  auto forged = records_[0];
  forged.back() ^= std::byte{1};
  EXPECT_THROW(opener.open(forged, into.data()), r3::ProtocolError);
  EXPECT_THROW(opener.open(records_[0], into.data()), r3::ProtocolError);
}

// The same rule in what r3 uses.
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

TEST_F(Records, AreLostWhenCutAtAnyByte) {
  Buffer all;
  for (const Buffer& record : records_) all.insert(all.end(), record.begin(), record.end());
  for (std::size_t length = 0; length < all.size(); ++length) {
    const std::string text =
        read(Buffer(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(length)));
    EXPECT_TRUE(text == " lost" || text == "one lost" || text == "onetwo lost") << text;
  }
}

TEST_F(Records, AreRefusedWithAnyBitChanged) {
  for (std::size_t bit = 0; bit < records_[1].size() * 8; ++bit) {
    auto records = records_;
    records[1][bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const std::string text = read(records);
    // A length that became larger than all that follows is never complete.
    EXPECT_TRUE(text == "one refused" || (bit < 16 && text == "one lost")) << bit << text;
  }
}

TEST_F(Records, ThatAreTooShortAreRefused) {
  for (unsigned length = 0; length < 16; ++length) {
    Buffer record(2 + length);
    r3::store_be(record.data(), static_cast<std::uint16_t>(length));
    EXPECT_EQ(" refused", read({record}));
  }
}

TEST(Rekeying, HappensAfterEachOf65536Records) {
  const Buffer key(32, std::byte{7});
  r3::RecordSealer sealer{r3::CipherState(key)};
  r3::RecordOpener opener{r3::CipherState(key)};
  r3::CipherState expected(key);
  const Buffer plaintext(1, std::byte{'x'});
  Buffer record(plaintext.size() + r3::kRecordOverhead), raw(plaintext.size() + r3::kTagSize);
  Buffer opened(plaintext.size());
  for (std::uint64_t number = 0; number < 2 * 65536 + 2; ++number) {
    if (number == 65536 || number == 2 * 65536) expected.rekey();
    expected.seal({}, plaintext, raw.data());
    sealer.seal(plaintext, record.data());
    ASSERT_TRUE(std::equal(raw.begin(), raw.end(), record.begin() + 2)) << number;
    opener.open(record, opened.data());
    ASSERT_EQ(plaintext, opened);
  }
}

TEST(CipherState, IsNotUsedTooOften) {
  const Buffer key(32, std::byte{7});
  r3::CipherState last(key, (1ULL << 48) - 1);
  Buffer sealed(r3::kTagSize);
  last.seal({}, {}, sealed.data());
  EXPECT_THROW(last.seal({}, {}, sealed.data()), std::system_error);
  r3::CipherState after(key, 1ULL << 48);
  std::byte nothing;
  // A right message with that number, from who does not count.
  const std::array<unsigned char, 12> nonce = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  ::crypto_aead_chacha20poly1305_ietf_encrypt(reinterpret_cast<unsigned char*>(sealed.data()), nullptr,
                                              nullptr, 0, nullptr, 0, nullptr, nonce.data(),
                                              reinterpret_cast<const unsigned char*>(key.data()));
  EXPECT_FALSE(after.open({}, sealed, &nothing));
}

}  // namespace
