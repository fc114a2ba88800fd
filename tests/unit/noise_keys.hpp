// SPDX-License-Identifier: Apache-2.0
// Keys for both ends of a test's connection.
#pragma once

#include "libcommon/net/secure_stream.hpp"

namespace r3_test {

struct Keys {
  r3::NoiseKeys client;
  r3::ServerKeys server;
};

inline Keys keys_for(r3::NoisePattern pattern) {
  const auto client = r3::SecretKey::generate(), server = r3::SecretKey::generate(),
             psk = r3::SecretKey::generate();
  switch (pattern) {
    case r3::NoisePattern::nn_psk0: return {{{}, {}, psk}, {{}, psk, false}};
    case r3::NoisePattern::xk: return {{client, server.public_key(), {}}, {server, {}, false}};
    case r3::NoisePattern::xk_psk0: return {{client, server.public_key(), psk}, {server, psk, false}};
    case r3::NoisePattern::nk: return {{{}, server.public_key(), {}}, {server, {}, true}};
  }
  return {};
}

}  // namespace r3_test
