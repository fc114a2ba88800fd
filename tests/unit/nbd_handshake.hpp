// SPDX-License-Identifier: Apache-2.0
// Clients in the handshake of an NBD server with two exports.
#pragma once

#include <gtest/gtest.h>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/nbd_wire.hpp"

namespace r3::test {

class NbdHandshake : public testing::Test {
 protected:
  MemoryBackend first{1 * MiB};
  MemoryBackend second{64 * KiB};
  WireServer server{{{"", "the first", &first, false}, {"second", "", &second, true}}};

  WireClient greeted() {
    auto client = server.connect();
    client.greet();
    return client;
  }
  // The connection still understands: a good client's next option is answered.
  static void expect_in_sync(WireClient& client) {
    EXPECT_EQ(client.ask(99).type, nbd::kRepErrUnsupported);
  }
  void expect_served() {
    auto client = server.connect_to();
    EXPECT_EQ(client.size, 1 * MiB);
  }
};

}  // namespace r3::test
