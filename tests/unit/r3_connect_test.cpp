// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_connect.hpp"

#include <gtest/gtest.h>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/keys.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"

namespace {

using namespace r3;
using namespace r3::test;
using namespace std::chrono_literals;

// A server behind a UNIX socket with what r3_accept() asks for.
struct Host {
  explicit Host(std::vector<R3Export> exports, R3Policy wanted)
      : server(std::move(exports), {}), policy(std::make_shared<R3Policy>(std::move(wanted))),
        listener(parse_address("unix:" + directory.path() + "/s")) {
    threads.spawn([this] {
      for (Fd fd = listener.accept(threads.stop()); fd.valid(); fd = listener.accept(threads.stop()))
        threads.spawn([this, number = fd.release()] { serve(Fd(number)); });
    });
  }
  void serve(Fd fd) {
    try {
      R3Accepted one = r3_accept(Channel(std::move(fd)), policy, threads.stop(), 10s);
      server.serve(*one.link, one.sums, one.peer, threads.stop());
    } catch (const std::exception&) {
      // The client sees the end of the connection.
    }
  }
  std::unique_ptr<R3Client> client(const NoiseKeys& keys, const std::string& name = "") {
    R3ClientOptions options;
    options.export_name = name;
    return std::make_unique<R3Client>(r3_dial(listener.address(), {keys, false}, 10s), options);
  }
  TemporaryDirectory directory;
  R3Server server;
  std::shared_ptr<const R3Policy> policy;
  Listener listener;
  TaskGroup threads;
};

R3Policy keys_policy(const SecretKey& own, const std::string& peers = "", bool anonymous = false) {
  R3Policy policy;
  policy.keys = ServerKeys{own, {}, anonymous};
  policy.peers = PeerKeys::parse(peers, "peers");
  return policy;
}

struct SecureMemory {
  explicit SecureMemory(std::uint64_t size)
      : memory(size), secret(SecretKey::generate()),
        host({{"", &memory}}, R3Policy{false, ServerKeys{{}, secret, false}, {}}) {}
  MemoryBackend memory;
  SecretKey secret;
  Host host;
};

BackendUnderTest encrypted(std::uint64_t size) {
  auto keep = std::make_shared<SecureMemory>(size);
  return {keep->host.client({{}, {}, keep->secret}), keep};
}

INSTANTIATE_TEST_SUITE_P(R3Encrypted, BackendSuite,
                         testing::Values(BackendCase{"memory", encrypted, nullptr, 1, 300}), case_name);

TEST(R3Connect, KeysDecideWhatIsAllowed) {
  const SecretKey server = SecretKey::generate(), alice = SecretKey::generate(),
                  bob = SecretKey::generate(), eve = SecretKey::generate();
  MemoryBackend memory(64 * KiB), other(64 * KiB);
  Host host({{"a", &memory}, {"b", &other}},
            keys_policy(server, to_text(alice.public_key()) + " alice rw *\n" +
                                    to_text(bob.public_key()) + " bob ro a\n"));
  const auto of = [&](const SecretKey& key) { return NoiseKeys{key, server.public_key(), {}}; };
  host.client(of(alice), "b")->write_at(as_bytes("x"), 0);
  EXPECT_TRUE(host.client(of(bob), "a")->read_only());
  EXPECT_THROW(host.client(of(bob), "b"), std::system_error);
  try {
    host.client(of(eve), "a");
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_NE(error.code().value(), ENOENT) << "an unknown key is not told about exports";
  }
  EXPECT_ANY_THROW(host.client({}, "a")) << "plain mode";
  EXPECT_ANY_THROW(host.client({{}, server.public_key(), {}}, "a")) << "anonymous";
}

TEST(R3Connect, AnonymousClientsOnlyRead) {
  const SecretKey server = SecretKey::generate();
  MemoryBackend memory(64 * KiB);
  Host host({{"", &memory}}, keys_policy(server, "", true));
  EXPECT_TRUE(host.client({{}, server.public_key(), {}})->read_only());
}

TEST(R3Connect, PlainModeStaysOnTheMachine) {
  const auto far = parse_address("tcp://192.0.2.1:1");
  EXPECT_THROW(r3_dial(far, {}, 1s), std::invalid_argument);
  EXPECT_NO_THROW(r3_dial(far, {{}, true}, 1s));
  EXPECT_NO_THROW(r3_dial(parse_address("unix:/x"), {}, 1s));
}

TEST(R3Connect, WhatCannotBeDialledTwiceEnds) {
  MemoryBackend memory(64 * KiB);
  R3Server server({{"", &memory}}, {});
  SocketPair pair = make_socket_pair();
  const auto policy = std::make_shared<R3Policy>(R3Policy{true, {}, {}});
  TaskGroup threads;
  Fd watch = duplicate(pair.theirs.get());
  threads.spawn([&, fd = pair.theirs.release()] {
    try {
      R3Accepted one = r3_accept(Channel(Fd(fd)), policy, threads.stop(), 10s);
      server.serve(*one.link, one.sums, one.peer, threads.stop());
    } catch (const std::system_error&) {
      // The test cuts the connection.
    }
  });
  const auto address = parse_address("fd:" + std::to_string(pair.ours.get()));
  R3Client client(r3_dial(address, {}, 10s), {});
  std::array<std::byte, 4> into;
  client.read_at(into, 0);
  Channel(std::move(watch)).shut_down();
  try {
    client.read_at(into, 0);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ESHUTDOWN);
  }
}

}  // namespace
