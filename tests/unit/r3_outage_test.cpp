// SPDX-License-Identifier: Apache-2.0
// What becomes of those who wait when the server of an r3/1 client is away, and what the user is told.
#include <gtest/gtest.h>

#include <thread>

#include "libcommon/net/r3_frame.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/r3_host.hpp"

namespace {

using namespace r3;
using namespace r3::test;
using namespace std::chrono_literals;

using Clock = std::chrono::steady_clock;

// Until it is true; the test's own limit ends what never becomes so.
template <class Condition>
void eventually(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

// A server's machine that can be made to hang: connections are taken, and nobody reads them.
struct Hanging {
  explicit Hanging(Backend& memory) : host({{"", &memory}}) {}
  R3Dial dial() {
    return [this, dial = host.dial()](const Stop& stop, Clock::time_point until) {
      if (!hangs) return dial(stop, until);
      SocketPair pair = make_socket_pair();
      std::lock_guard lock(mutex);
      silent.push_back(std::move(pair.theirs));
      return R3Dialled{make_plain_link(Channel(std::move(pair.ours))), true};
    };
  }
  void hang() {
    hangs = true;
    host.kill();
  }
  void come_back() {
    host.start();
    hangs = false;
    std::lock_guard lock(mutex);
    silent.clear();
  }
  std::atomic<bool> hangs{false};
  std::mutex mutex;
  std::vector<Fd> silent;  // guarded by mutex
  R3Host host;
};

TEST(R3Outage, IsOneForAllRequestsUntilTheServerIsHeard) {
  MemoryBackend memory(4 * MiB);
  Hanging server(memory);
  R3ClientOptions options;
  options.io_timeout = 200ms;
  R3Client client(server.dial(), options);
  server.hang();
  std::vector<std::byte> into(memory.size());
  const auto start = Clock::now();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(error_of([&] { client.read_at({into.data(), 1}, 0); }), EIO);
    EXPECT_EQ(error_of([&] { client.read_at(into, 0); }), EIO);  // several pieces
    EXPECT_EQ(error_of([&] { client.write_at({into.data(), MiB}, 0); }), EIO);
  }
  EXPECT_LT(Clock::now() - start, 15s) << "of 60 s if each request waited by itself";
  server.come_back();
  eventually([&] { return error_of([&] { client.read_at(into, 0); }) == 0; });
}

TEST(R3Outage, SeveralConnectionsHaveTheSameOne) {
  MemoryBackend memory(64 * KiB);
  Hanging server(memory);
  R3ClientOptions options;
  options.io_timeout = 200ms;
  options.connections = 4;
  R3Client client(server.dial(), options);
  server.hang();
  std::atomic<int> failed{0};
  const auto start = Clock::now();
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      std::byte one;
      for (int i = 0; i < 100; ++i) failed += error_of([&] { client.read_at({&one, 1}, 0); }) == EIO;
    });
  threads.clear();
  EXPECT_EQ(failed, 400);
  EXPECT_LT(Clock::now() - start, 15s) << "of 20 s if each request waited by itself";
}

// A server whose reads are held back until its client has asked for life so often that its time-out is over.
class Busy {
 public:
  explicit Busy(R3ServerOptions limits = {}) : host_({{"", &memory_}}, limits) { memory_.shut(Call::read); }
  int error_of_read(Bytes into) {
    R3ClientOptions options;
    options.io_timeout = 200ms;
    R3Client client(watched(), options);
    std::atomic<bool> over{false};
    std::jthread opener([&] {
      eventually([&] { return asked_ > 5 || over; });  // a quarter of the time-out lies between two
      memory_.open();
    });
    const int error = error_of([&] { client.read_at(into, 0); });
    over = true;
    return error;
  }

 private:
  struct Watched final : PassingLink {
    Watched(std::unique_ptr<Link> below, std::atomic<unsigned>& count) : PassingLink(std::move(below)), asked(count) {}
    std::size_t write_some(std::span<const iovec> parts) override {
      const auto& [bytes, length] = parts.front();
      if (length == wire::kMaxPrelude && *static_cast<const wire::Type*>(bytes) == wire::Type::ping) ++asked;
      return PassingLink::write_some(parts);
    }
    std::atomic<unsigned>& asked;
  };
  R3Dial watched() {
    return [this, dial = host_.dial()](const Stop& stop, Clock::time_point until) {
      R3Dialled one = dial(stop, until);
      one.link = std::make_unique<Watched>(std::move(one.link), asked_);
      return one;
    };
  }

  GatedBackend memory_{std::make_unique<MemoryBackend>(64 * KiB)};
  R3Host host_;
  std::atomic<unsigned> asked_{0};
};

// A server that has much to do is there all the same: it answers when it is asked.
TEST(R3Outage, ASlowAnswerIsNone) {
  std::byte one;
  EXPECT_EQ(Busy().error_of_read({&one, 1}), 0);
}

// All credits are used up by requests that wait; the server still answers who asks.
TEST(R3Outage, UsedUpCreditsAreNoSilence) {
  R3ServerOptions limits;
  limits.max_requests = 2;
  limits.max_transfer = limits.max_bytes = 4096;
  std::vector<std::byte> into(16 * KiB);
  EXPECT_EQ(Busy(limits).error_of_read(into), 0);
}

TEST(R3Outage, IsSaidWhileNobodyAsksForAnything) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  std::atomic<int> lost{0}, back{0};
  R3ClientOptions options;
  options.on_change = [&](bool connected) { ++(connected ? back : lost); };
  const auto client = host.client(options);
  host.kill();
  eventually([&] { return lost == 1; });
  EXPECT_EQ(back, 0);
  host.start();
  eventually([&] { return back == 1; });
  std::byte one;
  client->read_at({&one, 1}, 0);
  EXPECT_EQ(lost, 1);
}

// A stop that comes just when a connection begins to wait is seen all the same.
TEST(R3Outage, AServerEndsWheneverItIsTold) {
  MemoryBackend memory(64 * KiB);
  for (int i = 0; i < 1000; ++i) {
    R3Host host({{"", &memory}});
    const auto client = host.client();
    std::atomic<bool> begun{false};
    std::jthread reader([&] {
      std::byte one;
      while (error_of([&] { client->read_at({&one, 1}, 0); }) == 0) begun = true;
    });
    while (!begun) std::this_thread::yield();
    host.stop();
    client->abandon();
  }
}

}  // namespace
