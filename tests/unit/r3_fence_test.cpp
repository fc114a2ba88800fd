// SPDX-License-Identifier: Apache-2.0
// Two writers on one export: the newer one fences the older one off.
#include "libcommon/net/r3_fence.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/r3_host.hpp"

namespace r3::test {
namespace {

std::unique_ptr<R3Client> only_writer(R3Host& host) {
  R3ClientOptions options;
  options.only_writer = true;
  return host.client(options);
}

std::string refusal(R3Client& client) {
  try {
    client.write_at(as_bytes("x"), 0);
    return "";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ESTALE);
    return error.what();
  }
}

TEST(R3Fence, ANewerOnlyWriterFencesTheOlderOneOff) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  const auto older = only_writer(host);
  EXPECT_TRUE(older->is_fenced());
  EXPECT_EQ(refusal(*older), "");
  const auto newer = only_writer(host);
  EXPECT_NE(refusal(*older).find("a newer writer has the export"), std::string::npos);
  EXPECT_EQ(error_of([&] { older->zero_at(0, 512); }), ESTALE);
  EXPECT_EQ(error_of([&] { older->discard_at(0, 512); }), ESTALE);
  older->flush();
  EXPECT_EQ(read_bytes(*older, 0, 1), read_bytes(memory, 0, 1));
  EXPECT_EQ(refusal(*newer), "");
}

TEST(R3Fence, SharedWritersFenceNobodyButAnOlderOnlyWriter) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  const auto first = host.client();
  const auto second = host.client();
  EXPECT_EQ(refusal(*first), "");
  EXPECT_EQ(refusal(*second), "");
  EXPECT_EQ(refusal(*first), "");
  EXPECT_FALSE(first->is_fenced());
  const auto only = only_writer(host);
  EXPECT_NE(refusal(*first), "");
  const auto third = host.client();
  const auto fourth = host.client();
  EXPECT_EQ(refusal(*only), "");  // nobody else has written
  EXPECT_EQ(refusal(*fourth), "");
  EXPECT_NE(refusal(*only), "");
  EXPECT_NE(refusal(*third), "");  // it came before the one that writes now
}

TEST(R3Fence, WhoOnlyReadsFencesNobodyOff) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  const auto writer = only_writer(host);
  R3ClientOptions options;
  options.read_only = true;
  options.only_writer = true;
  const auto reader = host.client(options);
  read_bytes(*reader, 0, 512);
  EXPECT_FALSE(reader->is_fenced());
  EXPECT_EQ(refusal(*writer), "");
}

// Whoever comes back first: a server that is started anew knows by their tokens who is newer.
TEST(R3Fence, OutlivesARestartOfTheServer) {
  for (const bool older_first : {false, true}) {
    MemoryBackend memory(64 * KiB);
    R3Host host({{"", &memory}});
    const auto older = only_writer(host);
    const auto newer = only_writer(host);
    host.kill();
    host.start();
    if (older_first) read_bytes(*older, 0, 512);
    EXPECT_EQ(refusal(*newer), "");
    EXPECT_NE(refusal(*older), "");
    EXPECT_EQ(refusal(*newer), "");
  }
}

// What the older one had begun has ended when the newer one is let in.
TEST(R3Fence, WaitsForChangesUnderWay) {
  GatedBackend gated(std::make_unique<MemoryBackend>(64 * KiB));
  R3Host host({{"", &gated}});
  const auto older = only_writer(host);
  gated.shut(Call::write);
  std::jthread writer([&] { EXPECT_EQ(refusal(*older), ""); });
  gated.wait_for_waiting(1);
  std::atomic<bool> let_in{false};
  std::jthread second([&] {
    const auto newer = only_writer(host);
    let_in = true;
  });
  EXPECT_FALSE(let_in);
  gated.open();
  second.join();
  writer.join();
  EXPECT_NE(refusal(*older), "");
}

}  // namespace
}  // namespace r3::test
