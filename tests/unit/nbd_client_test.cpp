// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/nbd_double.hpp"
#include "tests/unit/test_bytes.hpp"

namespace r3::test {
namespace {

using namespace nbd;
using namespace std::chrono_literals;

BackendUnderTest make(DoubleOptions options, unsigned connections = 1) {
  auto server = std::make_shared<NbdDouble>(std::move(options));
  NbdClientOptions client;
  client.connections = connections;
  return {open_nbd(server->address(), "", client), server};
}

BackendUnderTest make_structured(std::uint64_t size) { return make({.size = size}); }

BackendUnderTest make_simple(std::uint64_t size) {
  return make({.size = size, .structured = false});
}

BackendUnderTest make_oldest(std::uint64_t size) {
  return make({.size = size, .flags = kHasFlags, .hello_flags = 0, .structured = false});
}

BackendUnderTest make_parallel(std::uint64_t size) {
  DoubleOptions options{.size = size};
  options.flags |= kCanMultiConn;
  return make(options, 3);
}

BackendUnderTest make_blocks(std::uint64_t size) {
  DoubleOptions options{.size = size};
  options.blocks = {std::uint16_t{kInfoBlockSize}, 512U, 4096U, 65536U};
  return make(options);
}

// The project's own server, over its own socket.
struct OwnServer {
  explicit OwnServer(std::uint64_t size) : memory(size), server({{"", "", &memory, false}}, {}) {
    group.spawn([this] {
      for (;;) {
        Fd connection = listener.accept(group.stop());
        if (!connection.valid()) return;
        group.spawn([this, fd = connection.release()] {
          try {
            server.serve(Channel(Fd(fd)), group.stop());
          } catch (const std::system_error&) {  // the client has gone
          }
        });
      }
    });
  }
  TemporaryDirectory directory;
  Listener listener{parse_address("unix:" + directory.path() + "/own")};
  MemoryBackend memory;
  NbdServer server;
  TaskGroup group;
};

BackendUnderTest make_own(std::uint64_t size) {
  auto server = std::make_shared<OwnServer>(size);
  return {open_nbd(server->listener.address(), "", {.connections = 2}), server};
}

BackendCase suite_case(const char* name, std::function<BackendUnderTest(std::uint64_t)> maker,
                       std::uint64_t granularity = 1) {
  BackendCase made{name, std::move(maker)};
  made.granularity = granularity;
  made.steps = 400;
  return made;
}

INSTANTIATE_TEST_SUITE_P(Nbd, BackendSuite,
                         testing::Values(suite_case("structured", make_structured),
                                         suite_case("simple", make_simple),
                                         suite_case("oldest", make_oldest),
                                         suite_case("parallel", make_parallel),
                                         suite_case("blocks", make_blocks, 512),
                                         suite_case("own", make_own)),
                         case_name);

TEST_F(NbdClient, CutsWhatIsTooLongForTheServer) {
  DoubleOptions options{.size = 5 * MiB};
  options.blocks = {std::uint16_t{kInfoBlockSize}, 1U, 4096U, 65536U};
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  std::vector<std::byte> bytes(3 * MiB + 5);
  std::minstd_rand random(1);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  client->write_at(bytes, 77);
  EXPECT_EQ(server.requests(kWrite), 49U);
  EXPECT_EQ(read_bytes(*client, 77, bytes.size()), bytes);
  EXPECT_EQ(client->block_size(), 4096U);
}

TEST_F(NbdClient, UsesSeveralConnectionsOnlyIfTheServerAllowsThat) {
  DoubleOptions options{.size = MiB};
  NbdDouble single(options);
  options.flags |= kCanMultiConn;
  NbdDouble several(options);
  const auto one = open_nbd(single.address(), "", {.connections = 4});
  const auto four = open_nbd(several.address(), "", {.connections = 4});
  EXPECT_EQ(single.connections(), 1U);
  EXPECT_EQ(several.connections(), 4U);
}

// fd:N, - and exec: are one connection: the next one would be nothing, or another server's.
TEST_F(NbdClient, UsesOneConnectionWhereTheNextIsToAnotherServer) {
  DoubleOptions options{.size = MiB};
  options.flags |= kCanMultiConn;
  NbdDouble server(options);
  const Stop never;
  const Channel here = connect_to(server.address(), 10s, never);
  const Address address{.kind = Address::Kind::fd, .fd = ::dup(here.input())};
  const auto client = open_nbd(address, "", {.connections = 4});
  EXPECT_EQ(server.connections(), 1U);
  EXPECT_EQ(client->size(), MiB);
  ::close(address.fd);
}

TEST_F(NbdClient, PassesTheServersErrorsOn) {
  DoubleOptions options{.size = MiB, .structured = false};
  options.answer = [](const Request& request, int socket) {
    std::vector<std::byte> reply;
    append(reply, SimpleReply{kSimpleReplyMagic, request.type == kFlush ? 28U : 4711U, request.cookie});
    send_bytes(socket, reply);
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  EXPECT_EQ(error_of([&] { client->flush(); }), ENOSPC);
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EIO);
  EXPECT_EQ(server.connections(), 1U);
}

TEST_F(NbdClient, GivesFuaWithEveryWriteWhereThereIsNoFlush) {
  DoubleOptions options{.size = MiB};
  options.flags = kHasFlags | kSendFua;
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  client->write_at(filled(4096, 7), 0);
  client->flush();
  EXPECT_EQ(server.durable()[4095], std::byte{7});
}

TEST_F(NbdClient, RidesOutAnOutage) {
  NbdDouble server({.size = MiB});
  std::atomic<unsigned> lost = 0, back = 0;
  NbdClientOptions options;
  options.on_change = [&](bool connected) { ++(connected ? back : lost); };
  const auto client = open_nbd(server.address(), "", options);
  client->write_at(filled(4096, 1), 0);
  server.stop();
  std::thread restarter([&] { server.start(); });
  EXPECT_EQ(read_bytes(*client, 0, 4096), filled(4096, 1));
  restarter.join();
  EXPECT_EQ(lost, 1U);
  EXPECT_EQ(said().find("connection lost") == std::string::npos, false);
}

TEST_F(NbdClient, WritesAgainWhatACrashedServerLost) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  client->write_at(filled(8192, 1), 0);
  client->flush();
  client->write_at(filled(4096, 2), 0);
  client->write_at(filled(4096, 3), 2048);
  client->zero_at(3000, 100, {});
  server.crash();
  auto expected = filled(2048, 2);
  expected.resize(6144, std::byte{3});
  std::fill_n(expected.begin() + 3000, 100, std::byte{0});
  expected.resize(8192, std::byte{1});
  EXPECT_EQ(read_bytes(*client, 0, 8192), expected);
  client->flush();
  const auto durable = server.durable();
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), durable.begin()));
}

TEST_F(NbdClient, FlushesByItselfBeforeItKeepsTooMuch) {
  NbdDouble server({.size = 64 * MiB});
  const auto client = open_nbd(server.address(), "", {});
  const auto bytes = filled(MiB, 9);
  for (std::uint64_t at = 0; at < 40 * MiB; at += MiB) client->write_at(bytes, at);
  EXPECT_GE(server.requests(kFlush), 2U);
  server.crash();
  for (std::uint64_t at = 0; at < 40 * MiB; at += MiB)
    ASSERT_EQ(read_bytes(*client, at, MiB), bytes) << at;
}

// Crashes in the middle of random work: nothing that was acknowledged is lost, and nobody hangs.
void survive_crashes(unsigned crashes, unsigned connections, bool structured) {
  constexpr std::uint64_t slice = 256 * KiB;
  constexpr unsigned workers = 4;
  DoubleOptions options{.size = workers * slice, .structured = structured};
  options.flags |= kCanMultiConn;
  NbdDouble server(options);
  NbdClientOptions client_options;
  client_options.connections = connections;
  const auto client = open_nbd(server.address(), "", client_options);
  std::vector<std::byte> oracle(options.size);
  TaskGroup group;
  for (unsigned worker = 0; worker < workers; ++worker) {
    group.spawn([&, worker] {
      std::minstd_rand random(worker + 1);
      while (server.crashes() < crashes) {
        const auto offset = worker * slice + random() % (slice - 9000);
        const auto length = 1 + random() % 9000;
        const auto begin = oracle.begin() + static_cast<long>(offset);
        switch (random() % 8) {
          case 0:
            client->flush();
            break;
          case 1:
            client->zero_at(offset, length, {});
            std::fill_n(begin, length, std::byte{0});
            break;
          case 2:
          case 3:
          case 4:
            std::generate_n(begin, length, [&] { return static_cast<std::byte>(random()); });
            client->write_at({&*begin, length}, offset);
            break;
          default:
            const auto got = read_bytes(*client, offset, length);
            if (!std::equal(got.begin(), got.end(), begin)) throw std::runtime_error("wrong bytes");
        }
        if (worker == 0 && random() % 32 == 0) server.crash_after(1 + static_cast<unsigned>(random() % 50));
      }
    });
  }
  group.join();
  EXPECT_EQ(read_bytes(*client, 0, oracle.size()), oracle);
  server.crash_after(0);
  client->flush();
  EXPECT_EQ(server.durable(), oracle);
}

TEST_F(NbdClient, LosesNothingInCrashes) { survive_crashes(60, 1, true); }
TEST_F(NbdClient, LosesNothingInCrashesOfSeveralConnections) { survive_crashes(20, 3, false); }

TEST_F(NbdClient, OverlappingWritesStayInTheirOrder) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  for (int round = 0; round < 30; ++round) {
    TaskGroup group;
    for (int worker = 0; worker < 4; ++worker)
      group.spawn([&, worker] { client->write_at(filled(100'000, 1 + worker), 50'000); });
    group.join();
    const auto before = read_bytes(*client, 50'000, 100'000);
    server.crash();
    ASSERT_EQ(read_bytes(*client, 50'000, 100'000), before);
  }
}

TEST_F(NbdClient, AnOutageBecomesAnErrorOnlyAfterTheTimeout) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  server.stop();
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EIO);
  server.start();
  // Sooner or later it is back.
  while (error_of([&] { read_bytes(*client, 0, 1); }) != 0) continue;
}

// Each piece that waited on its own would be asked for again in a session of its own.
TEST_F(NbdClient, AnOutageIsOneForAllPiecesOfACall) {
  DoubleOptions options{.size = 16 * MiB};
  options.answer = [](const Request& request, int) { return request.type == kRead; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 16 * MiB); }), EIO);
  EXPECT_LE(server.requests(kRead), 16U);
}

TEST_F(NbdClient, AServerThatHangsBecomesAnError) {
  DoubleOptions options{.size = 8 * MiB};
  std::atomic<bool> hangs = true;
  options.answer = [&](const Request& request, int) { return hangs && request.type != kFlush; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 50ms});
  TaskGroup group;
  for (int worker = 0; worker < 3; ++worker)
    group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 3 * MiB); }), EIO); });
  group.join();
  EXPECT_EQ(error_of([&] { client->write_at(filled(1, 1), 0); }), EIO);
  hangs = false;
  while (error_of([&] { client->write_at(filled(64 * KiB, 1), 0); }) != 0) continue;
}

TEST_F(NbdClient, AbandonEndsEverything) {
  DoubleOptions options{.size = MiB};
  options.answer = [](const Request& request, int) { return request.type == kRead; };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  TaskGroup group;
  for (int worker = 0; worker < 3; ++worker)
    group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), ESHUTDOWN); });
  while (server.requests(kRead) < 3) std::this_thread::yield();
  client->abandon();
  group.join();
  EXPECT_EQ(error_of([&] { client->flush(); }), ESHUTDOWN);
}

TEST_F(NbdClient, AbandonEndsAnOutage) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  server.stop();
  TaskGroup group;
  group.spawn([&] { EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), ESHUTDOWN); });
  client->abandon();
  group.join();
}

TEST_F(NbdClient, RefusesAnotherExportAfterAnOutage) {
  NbdDouble server({.size = MiB});
  const auto client = open_nbd(server.address(), "", {});
  server.stop();
  server.options().size = MiB / 2;
  server.start();
  EXPECT_EQ(error_of([&] { read_bytes(*client, 0, 1); }), EPROTO);
}

TEST_F(NbdClient, AServerThatShutsDownIsWaitedFor) {
  DoubleOptions options{.size = MiB, .structured = false};
  std::atomic<unsigned> refusals = 2;
  options.answer = [&](const Request& request, int socket) {
    if (refusals == 0) return false;
    --refusals;
    send_bytes(socket, simple(request.cookie, kEShutdown));
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {});
  EXPECT_EQ(read_bytes(*client, 0, 4), filled(4, 0));
}

TEST_F(NbdClient, ManyThreadsShareAConnectionThatIsFullBothWays) {
  NbdDouble server({.size = 16 * MiB});
  const auto client = open_nbd(server.address(), "", {});
  TaskGroup group;
  for (unsigned worker = 0; worker < 4; ++worker) {
    group.spawn([&, worker] {
      const auto mine = filled(2 * MiB, static_cast<int>(worker) + 1);
      for (int round = 0; round < 4; ++round) {
        client->write_at(mine, worker * 4 * MiB);
        EXPECT_EQ(read_bytes(*client, worker * 4 * MiB, 2 * MiB), mine);
      }
    });
  }
  group.join();
}

// The only answer that is due comes while a request is half sent: one thread takes it, and the sender,
// who has seen it too, must not wait for another one while the server waits for the rest.
TEST_F(NbdClient, ASenderDoesNotWaitForAnAnswerThatAnotherThreadTook) {
  DoubleOptions options{.size = 4 * MiB, .flags = kHasFlags, .structured = false};
  options.answer = [](const Request& request, int socket) {
    send_bytes(socket, simple(request.cookie));  // before it takes more
    return true;
  };
  NbdDouble server(options);
  const auto client = open_nbd(server.address(), "", {.io_timeout = 10s});
  TaskGroup group;
  for (unsigned worker = 0; worker < 16; ++worker) {
    group.spawn([&, worker] {
      const auto mine = filled(256 * KiB, 1);
      for (int round = 0; round < 500; ++round) client->write_at(mine, worker * 256 * KiB);
    });
  }
  group.join();
}

}  // namespace
}  // namespace r3::test
