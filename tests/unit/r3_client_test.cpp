// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_client.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <random>
#include <thread>

#include "libcommon/net/r3_slot.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/backend_suite.hpp"
#include "tests/unit/doubles.hpp"
#include "tests/unit/r3_host.hpp"
#include "tests/unit/test_bytes.hpp"

namespace {

using namespace r3;
using namespace r3::test;

// Memory whose every call has to wait in a worker.
class Slow : public MemoryBackend {
 public:
  using MemoryBackend::MemoryBackend;
  bool try_read_at(Bytes, std::uint64_t) override { return false; }
  bool try_write_at(ConstBytes, std::uint64_t) override { return false; }
};

template <class Memory>
struct Keep {
  explicit Keep(std::uint64_t size) : memory(size), host({{"", &memory, false, false}}, options()) {}
  static R3ServerOptions options() {
    R3ServerOptions options;
    options.max_transfer = 64 * KiB;  // so that the suite's sizes are cut
    return options;
  }
  Memory memory;
  R3Host host;
};

template <class Memory, unsigned connections>
BackendUnderTest over_r3(std::uint64_t size) {
  auto keep = std::make_shared<Keep<Memory>>(size);
  R3ClientOptions options;
  options.connections = connections;
  return {keep->host.client(options), keep};
}

INSTANTIATE_TEST_SUITE_P(
    R3, BackendSuite,
    testing::Values(BackendCase{"memory", over_r3<MemoryBackend, 1>, nullptr, 1, 600},
                    BackendCase{"waiting", over_r3<Slow, 1>, nullptr, 1, 300},
                    BackendCase{"three_connections", over_r3<Slow, 3>, nullptr, 1, 300}),
    case_name);

TEST(R3Client, ManyThreadsShareOneConnection) {
  MemoryBackend memory(4 * MiB);
  const auto content = random_bytes(memory.size(), 1);
  memory.write_at(content, 0);
  R3Host host({{"", &memory}});
  const auto client = host.client();
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      std::mt19937_64 random(t);
      std::vector<std::byte> into(300 * KiB);
      for (int i = 0; i < 200; ++i) {
        const auto length = random() % (i % 2 ? into.size() : 8 * KiB);
        const auto offset = random() % (memory.size() - length);
        client->read_at({into.data(), length}, offset);
        if (std::memcmp(into.data(), content.data() + offset, length) != 0) ++wrong;
      }
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(R3Client, KeepsManyReadsInFlightWithOneThread) {
  MemoryBackend memory(1 * MiB);
  const auto content = random_bytes(memory.size(), 2);
  memory.write_at(content, 0);
  R3Host host({{"", &memory}});
  const auto client = host.client();
  std::vector<std::byte> into(memory.size());
  std::vector<R3Call> calls(256);
  for (std::size_t i = 0; i < calls.size(); ++i)
    client->start_read(calls[i], {into.data() + i * 4096, 4096}, i * 4096, i % 2, true);
  for (auto& call : calls) client->wait(call);
  EXPECT_EQ(into, content);
}

// With each payload comes the header of the next, as from a server that is always ahead.
class Behind final : public Link {
 public:
  explicit Behind(std::unique_ptr<Link> below) : below_(std::move(below)) {}
  std::optional<std::size_t> read_some(Bytes into) override { return below_->read_some(into); }
  std::optional<std::size_t> read_some(Bytes into, Bytes then) override {
    const auto n = below_->read_some(into);
    if (n != into.size()) return n;
    pollfd more{below_->input(), POLLIN, 0};
    ::poll(&more, 1, 100);
    return into.size() + below_->read_some(then).value_or(0);
  }
  std::size_t write_some(std::span<const iovec> parts) override { return below_->write_some(parts); }
  void finish() noexcept override { below_->finish(); }
  int input() const override { return below_->input(); }
  int output() const override { return below_->output(); }
  void shut_down() noexcept override { below_->shut_down(); }

 private:
  const std::unique_ptr<Link> below_;
};

TEST(R3Client, WhoHasItsAnswerDoesNotReceiveThoseOfOthers) {
  MemoryBackend memory(16 * MiB);
  const auto content = random_bytes(memory.size(), 7);
  memory.write_at(content, 0);
  R3Host host({{"", &memory}});
  R3Client client([dial = host.dial()](const Stop& stop, std::chrono::steady_clock::time_point until) {
    R3Dialled one = dial(stop, until);
    one.link = std::make_unique<Behind>(std::move(one.link));
    return one;
  }, {});
  std::vector<std::byte> into(memory.size());
  std::vector<R3Call> calls(64);
  const auto size = into.size() / calls.size();
  for (std::size_t i = 0; i < calls.size(); ++i)
    client.start_read(calls[i], {into.data() + i * size, size}, i * size, false, true);
  client.wait(calls.front());
  EXPECT_FALSE(calls.back().done);
  for (std::size_t i = 1; i < calls.size(); ++i) client.wait(calls[i]);
  EXPECT_TRUE(into == content);
}

TEST(R3Client, UnknownExportIsRefused) {
  MemoryBackend memory(4096);
  R3Host host({{"a", &memory}});
  R3ClientOptions options;
  options.export_name = "b";
  try {
    host.client(options);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
  }
}

TEST(R3Client, ReadOnlyExportRefusesChanges) {
  MemoryBackend memory(4096);
  R3Host host({{"", &memory, true, false}});
  const auto client = host.client();
  EXPECT_TRUE(client->read_only());
  EXPECT_THROW(client->write_at(as_bytes("x"), 0), std::system_error);
  EXPECT_THROW(client->zero_at(0, 10), std::system_error);
}

TEST(R3Client, HashesChunks) {
  MemoryBackend memory(100'000);
  const auto content = random_bytes(memory.size(), 3);
  memory.write_at(content, 0);
  R3Host host({{"", &memory}});
  const auto hashes = host.client()->hash(0, memory.size(), 4096);
  ASSERT_EQ(hashes.size(), 25u);
  EXPECT_EQ(hashes[7], wire::chunk_hash(ConstBytes(content).subspan(7 * 4096, 4096)));
  EXPECT_EQ(hashes[24], wire::chunk_hash(ConstBytes(content).subspan(24 * 4096)));
}

TEST(R3Client, GoesOnAfterTheServerCameBack) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  const auto client = host.client();
  client->write_at(as_bytes("before"), 10);
  host.kill();
  host.start();
  std::array<std::byte, 6> into;
  client->read_at(into, 10);
  EXPECT_EQ(as_text(into), "before");
  client->write_at(as_bytes("after"), 10);
  client->flush();
  EXPECT_EQ(as_text({memory.bytes().data() + 10, 5}), "after");
}

TEST(R3Client, WritesThatARestartLostAreMadeAgain) {
  MemoryBackend first(64 * KiB), second(64 * KiB);
  R3Host host({{"", &first}});
  const auto client = host.client();
  client->write_at(as_bytes("flushed"), 0);
  client->flush();
  client->write_at(as_bytes("one"), 100);
  client->write_at(as_bytes("two"), 101);
  client->zero_at(103, 1);
  second.write_at(as_bytes("flushed"), 0);
  host.kill();
  host.replace({{"", &second}});
  host.start();
  std::array<std::byte, 5> into;
  client->read_at(into, 100);
  EXPECT_EQ(as_text(into), std::string_view("otw\0\0", 5));
  client->flush();
}

TEST(R3Client, TheFirstFlushIsSentTheNextOnlyAfterAChange) {
  CountingBackend counted(std::make_unique<MemoryBackend>(64 * KiB));
  R3Host host({{"", &counted}});
  const auto client = host.client();
  client->flush();  // somebody before it may have left something
  EXPECT_EQ(counted.calls(Call::flush), 1u);
  client->flush();
  EXPECT_EQ(counted.calls(Call::flush), 1u);
  client->write_at(as_bytes("x"), 0);
  client->flush();
  EXPECT_EQ(counted.calls(Call::flush), 2u);
}

TEST(R3Client, AnotherExportIsNeverMixedIn) {
  MemoryBackend first(64 * KiB), second(64 * KiB);
  R3Host host({{"", &first, false, true}});
  const auto client = host.client();
  host.kill();
  host.replace({{"", &second, false, true}});
  host.start();
  std::array<std::byte, 5> into;
  for (int i = 0; i < 2; ++i) try {
      client->read_at(into, 100);
      FAIL();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ESTALE);
    }
}

TEST(R3Client, OutageBecomesAnErrorAfterTheTimeout) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  R3ClientOptions options;
  options.io_timeout = std::chrono::milliseconds(50);
  const auto client = host.client(options);
  host.kill();
  std::array<std::byte, 5> into;
  try {
    client->read_at(into, 0);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EIO);
  }
}

TEST(R3Client, AbandonEndsWhatWaits) {
  MemoryBackend memory(64 * KiB);
  R3Host host({{"", &memory}});
  const auto client = host.client();
  host.kill();
  std::atomic<int> ended{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      std::array<std::byte, 5> into;
      try {
        client->read_at(into, 0);
      } catch (const std::system_error& error) {
        if (error.code().value() == ESHUTDOWN) ++ended;
      }
    });
  client->abandon();
  threads.clear();
  EXPECT_EQ(ended, 4);
}

}  // namespace
