// SPDX-License-Identifier: Apache-2.0
// A client in the transmission phase of the NBD server, whose answers come at once or from workers: both have to
// say the same.
#pragma once

#include <gtest/gtest.h>

#include "tests/unit/far_memory.hpp"
#include "tests/unit/nbd_wire.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {

constexpr std::uint64_t kSize = 8 * MiB;

inline ByteString numbered(std::size_t size) {
  ByteString bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + i / 251);
  return bytes;
}

class NbdTransmission : public testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<MemoryBackend> memory =
      GetParam() ? std::make_unique<FarMemory>(kSize) : std::make_unique<MemoryBackend>(kSize);
  WireServer server{{{"", "", memory.get(), false}, {"ro", "", memory.get(), true}}};
  WireClient client = server.connect_to();

  void expect_in_sync() { EXPECT_EQ(client.transact(nbd::kFlush, 0, 0), nbd::kOk); }
  std::uint32_t write(std::uint64_t offset, const ByteString& bytes, std::uint16_t flags = 0) {
    client.request(nbd::kWrite, offset, static_cast<std::uint32_t>(bytes.size()), flags);
    client.send(bytes);
    return client.simple();
  }
  ByteString read(std::uint64_t offset, std::uint32_t length) {
    EXPECT_EQ(client.transact(nbd::kRead, offset, length), nbd::kOk);
    return client.receive(length);
  }
};

inline std::string who_answers(const testing::TestParamInfo<bool>& each) { return each.param ? "byWorkers" : "atOnce"; }

}  // namespace r3::test
