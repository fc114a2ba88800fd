// SPDX-License-Identifier: Apache-2.0
// The Noise objects against published vectors: those that Debian's golang-github-flynn-noise-dev
// installs, and a few of them as data, so that the test never runs empty.
#include <gtest/gtest.h>
#include <sodium.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/noise_handshake.hpp"

namespace {

using r3::Bytes;
using r3::ConstBytes;
using r3::HandshakeState;
using Fields = std::map<std::string, std::string>;
using Buffer = std::vector<std::byte>;

constexpr const char* kInstalledVectors =
    "/usr/share/gocode/src/github.com/flynn/noise/vectors.txt";

// Of vectors.txt: with prologue and payloads, one for each pattern.
constexpr const char* kTranscribed[] = {
    R"(handshake=Noise_NNpsk0_25519_ChaChaPoly_SHA256
gen_init_ephemeral=202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
gen_resp_ephemeral=4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60
prologue=6e6f74736563726574
preshared_key=2176657279736563726574766572797365637265747665727973656372657421
msg_0_payload=746573745f6d73675f30
msg_0_ciphertext=358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662547c78f22f8cea986f934ab17c2484a24a990a6473d588a4f20e99
msg_1_payload=746573745f6d73675f31
msg_1_ciphertext=64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484666913ea64c74c2f63ee5e32a5358320d459322d624c9ccc975fa0
msg_2_payload=79656c6c6f777375626d6172696e65
msg_2_ciphertext=b349a522c145762c7c737ac1d1425ce1fb25c7cca626177ee4ceed3cd6fb3d
msg_3_payload=7375626d6172696e6579656c6c6f77
msg_3_ciphertext=b41e24399dc3f1ad2faf82868700e4bf31bb89f6616e1d6a92802bb8ad80d6
)",
    R"(handshake=Noise_XK_25519_ChaChaPoly_SHA256
init_static=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
resp_static=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
gen_init_ephemeral=202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
gen_resp_ephemeral=4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60
prologue=6e6f74736563726574
msg_0_payload=746573745f6d73675f30
msg_0_ciphertext=358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662540c4e6c2fa1de96ff57949c01e13796236098242159a3226d7efc
msg_1_payload=746573745f6d73675f31
msg_1_ciphertext=64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466e3186922b93e29c4a8f481bf540b7b9425152ed77d3ac32b6d5f
msg_2_payload=746573745f6d73675f32
msg_2_ciphertext=24a819b832ab7a11dd1464c2baf72f2c49e0665757911662ab11495a5fd4437e0fe2fb0506b390ab1e1527e2765e53dbed954c511b2929288a71525a716ce72aa94bca5bb136a6e3f02a
msg_3_payload=79656c6c6f777375626d6172696e65
msg_3_ciphertext=e8b0f2fc220f7edc287a91ba45c76f6da1327405789dc61e31a649f57d6d93
msg_4_payload=7375626d6172696e6579656c6c6f77
msg_4_ciphertext=ed6901a7cd973e880242b047fc86da03b498e8ed8e9838d6f3d107420dfcd9
)",
    R"(handshake=Noise_XKpsk0_25519_ChaChaPoly_SHA256
init_static=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
resp_static=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
gen_init_ephemeral=202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
gen_resp_ephemeral=4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60
prologue=6e6f74736563726574
preshared_key=2176657279736563726574766572797365637265747665727973656372657421
msg_0_payload=746573745f6d73675f30
msg_0_ciphertext=358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254f642fb7c3aae91f49563f25c1b81e11ff9e6d6baaa12f93db4e8
msg_1_payload=746573745f6d73675f31
msg_1_ciphertext=64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466744cd29d79ec8af7a4cf81de742a83ee52d471a819e16e3d4a6d
msg_2_payload=746573745f6d73675f32
msg_2_ciphertext=2d53813722d086e90ea67567c62e7363b8ac9207c580da580ef863a83ff27bcc4568150efc37962fd4465366a61ebe29693b7e89832715ec64be7037e15af89fa2d1a1b6b34ff222e70f
msg_3_payload=79656c6c6f777375626d6172696e65
msg_3_ciphertext=84ae2612b7e30a08826858696ffe58b04409582f7f61a9fd89b8da7436540d
msg_4_payload=7375626d6172696e6579656c6c6f77
msg_4_ciphertext=1909701a9f7ef6101bd2399cbdb58ce6a2fe375265d1b31599480046a21c40
)",
    R"(handshake=Noise_NK_25519_ChaChaPoly_SHA256
resp_static=0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20
gen_init_ephemeral=202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f
gen_resp_ephemeral=4142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f60
prologue=6e6f74736563726574
msg_0_payload=746573745f6d73675f30
msg_0_ciphertext=358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662543e44c6b6a0a9a28f5dafb35dfe4f2cf52995fadd57f0a4006d1c
msg_1_payload=746573745f6d73675f31
msg_1_ciphertext=64b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d484666e1a02e46e9053fa2a81414fd4a5bd34dbd73cb3a6e1b896bce6
msg_2_payload=79656c6c6f777375626d6172696e65
msg_2_ciphertext=9cfd3ddea89d9f445475098f834e572ec4a8c5e9be740dd92831ef6cf6fd9e
msg_3_payload=7375626d6172696e6579656c6c6f77
msg_3_ciphertext=5db2eb7c7b37b33cd42fd321e05d9048c9be3efa0ae3a8c76724307e7562ff
)",
};

Buffer from_hex(const std::string& text) {
  if (text.empty()) return {};
  Buffer bytes(text.size() / 2);
  std::size_t length = 0;
  EXPECT_EQ(0, ::sodium_hex2bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(),
                                text.data(), text.size(), nullptr, &length, nullptr));
  EXPECT_EQ(length, bytes.size());
  return bytes;
}

std::string to_hex(ConstBytes bytes) {
  std::string text(bytes.size() * 2 + 1, '\0');
  ::sodium_bin2hex(text.data(), text.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                   bytes.size());
  text.pop_back();
  return text;
}

r3::SecretKey key_of(const Fields& fields, const std::string& name) {
  const auto found = fields.find(name);
  return found == fields.end() ? r3::SecretKey() : r3::SecretKey::copy_of(from_hex(found->second));
}

// "name=value" lines; an empty line or the next handshake= ends a vector.
std::vector<Fields> parse_vectors(std::istream& in) {
  std::vector<Fields> vectors;
  for (std::string line; std::getline(in, line);) {
    const auto equals = line.find('=');
    if (line.empty() || line[0] == '#' || equals == std::string::npos) continue;
    if (line.starts_with("handshake=")) vectors.emplace_back();
    if (!vectors.empty()) vectors.back()[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return vectors;
}

HandshakeState state_for(const Fields& fields, r3::NoisePattern pattern, HandshakeState::Role role) {
  const bool initiator = role == HandshakeState::Role::initiator;
  r3::NoiseKeys keys;
  keys.own = key_of(fields, initiator ? "init_static" : "resp_static");
  keys.psk = key_of(fields, "preshared_key");
  if (initiator && fields.contains("resp_static"))
    keys.peer = key_of(fields, "resp_static").public_key();
  const auto prologue = fields.contains("prologue") ? from_hex(fields.at("prologue")) : Buffer();
  return HandshakeState(pattern, role, prologue, keys,
                        key_of(fields, initiator ? "gen_init_ephemeral" : "gen_resp_ephemeral"));
}

// Plays a vector through both roles; every byte on the way must be the published one.
void check_vector(const Fields& fields, r3::NoisePattern pattern) {
  SCOPED_TRACE(fields.at("handshake"));
  auto initiator = state_for(fields, pattern, HandshakeState::Role::initiator);
  auto responder = state_for(fields, pattern, HandshakeState::Role::responder);
  int message = 0;
  const auto field = [&](const char* kind) {
    return from_hex(fields.at("msg_" + std::to_string(message) + kind));
  };
  for (; !initiator.complete(); ++message) {
    auto& writer = initiator.my_turn() ? initiator : responder;
    auto& reader = initiator.my_turn() ? responder : initiator;
    const Buffer payload = field("_payload");
    Buffer sent(writer.next_overhead() + payload.size());
    writer.write_message(payload, sent.data());
    ASSERT_EQ(to_hex(sent), to_hex(field("_ciphertext")));
    Buffer got(sent.size() - reader.next_overhead());
    reader.read_message(sent, got.data());
    EXPECT_EQ(got, payload);
  }
  ASSERT_TRUE(responder.complete());
  EXPECT_EQ(initiator.hash(), responder.hash());
  auto [first, second] = initiator.split();
  auto [first_there, second_there] = responder.split();
  // flynn's vectors begin with the initiator, whoever wrote last.
  for (bool from_initiator = true; fields.contains("msg_" + std::to_string(message) + "_payload");
       ++message, from_initiator = !from_initiator) {
    const Buffer payload = field("_payload");
    Buffer sealed(payload.size() + r3::kTagSize), opened(payload.size());
    (from_initiator ? first : second).seal({}, payload, sealed.data());
    EXPECT_EQ(to_hex(sealed), to_hex(field("_ciphertext")));
    ASSERT_TRUE((from_initiator ? first_there : second_there).open({}, sealed, opened.data()));
    EXPECT_EQ(opened, payload);
  }
}

int check_vectors(std::istream& in, std::map<std::string, int>& counts) {
  int checked = 0;
  for (const Fields& fields : parse_vectors(in))
    for (const auto pattern : r3::kNoisePatterns)
      if (fields.at("handshake") == HandshakeState::protocol_name(pattern)) {
        check_vector(fields, pattern);
        ++checked;
        ++counts[fields.at("handshake")];
      }
  return checked;
}

TEST(Noise, RepeatsTranscribedVectors) {
  std::map<std::string, int> counts;
  for (const char* text : kTranscribed) {
    std::istringstream in(text);
    EXPECT_EQ(1, check_vectors(in, counts));
  }
  EXPECT_EQ(4u, counts.size()) << "one for each pattern";
}

TEST(Noise, RepeatsInstalledVectors) {
  std::ifstream in(kInstalledVectors);
  if (!in && std::getenv("STRICT")) FAIL() << kInstalledVectors << " is missing";
  if (!in) GTEST_SKIP() << "needs golang-github-flynn-noise-dev";
  std::map<std::string, int> counts;
  check_vectors(in, counts);
  EXPECT_EQ(4u, counts.size());
  for (const auto& [name, count] : counts) EXPECT_EQ(4, count) << name;  // prologue x payloads
}

}  // namespace
