// SPDX-License-Identifier: Apache-2.0
// Connections that are reset again and again after a few hundred kilobytes: what they carried counts, so that
// every request ends as long as one piece of it fits.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "libcommon/storage/memory.hpp"
#include "tests/unit/r3_host.hpp"
#include "tests/unit/test_bytes.hpp"

namespace {

using namespace r3;
using namespace r3::test;

constexpr std::size_t kLife = 200 * KiB;

// Breaks off after so many bytes, both ways together; what is under way then is lost.
class Mortal final : public PassingLink {
 public:
  using PassingLink::PassingLink;
  std::optional<std::size_t> read_some(Bytes into) override {
    const auto n = PassingLink::read_some(into.first(std::min(into.size(), left())));
    if (n) age(*n);
    return n;
  }
  std::size_t write_some(std::span<const iovec> parts) override {
    const iovec first{parts.front().iov_base, std::min(parts.front().iov_len, left())};
    const auto n = PassingLink::write_some({&first, 1});
    age(n);
    return n;
  }

 private:
  std::size_t left() {
    if (age_ >= kLife) {
      shut_down();
      fail(ECONNRESET, "the end of its life");
    }
    return kLife - age_;
  }
  void age(std::size_t bytes) { age_ += bytes; }

  std::atomic<std::size_t> age_{0};
};

R3Dial mortal(R3Dial dial, std::atomic<unsigned>& dialled) {
  return [=, &dialled](const Stop& stop, std::chrono::steady_clock::time_point until) {
    R3Dialled one = dial(stop, until);
    one.link = std::make_unique<Mortal>(std::move(one.link));
    ++dialled;
    return one;
  };
}

TEST(R3Headway, LongReadsGoOnWhereTheyWere) {
  MemoryBackend memory(1 * MiB);
  const auto content = random_bytes(memory.size(), 1);
  memory.write_at(content, 0);
  R3Host host({{"", &memory}});
  std::atomic<unsigned> dialled{0};
  R3Client client(mortal(host.dial(), dialled), {});
  std::vector<std::vector<std::byte>> seen(3, std::vector<std::byte>(content.size()));
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < seen.size(); ++t)
    threads.emplace_back([&, t] { t == 0 ? client.read_background(seen[t], 0) : client.read_at(seen[t], 0); });
  threads.clear();
  for (const auto& one : seen) EXPECT_TRUE(one == content);
  EXPECT_GT(dialled, seen.size() * content.size() / kLife);
}

TEST(R3Headway, LongWritesGetThroughInPieces) {
  MemoryBackend memory(4 * MiB);
  R3Host host({{"", &memory}});
  std::atomic<unsigned> dialled{0};
  R3Client client(mortal(host.dial(), dialled), {});
  const auto content = random_bytes(1 * MiB, 2);
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 3; ++t) threads.emplace_back([&, t] { client.write_at(content, t * MiB + 1); });
  threads.clear();
  client.flush();
  for (unsigned t = 0; t < 3; ++t)
    EXPECT_EQ(std::memcmp(memory.bytes().data() + t * MiB + 1, content.data(), content.size()), 0);
}

TEST(R3Headway, WhatARestartLostIsMadeAgainInPieces) {
  MemoryBackend first(1 * MiB), second(1 * MiB);
  R3Host host({{"", &first}});
  std::atomic<unsigned> dialled{0};
  R3Client client(mortal(host.dial(), dialled), {});
  const auto content = random_bytes(1 * MiB, 3);
  client.write_at(content, 0);
  host.kill();
  host.replace({{"", &second}});
  host.start();
  std::byte one;
  client.read_at({&one, 1}, 0);
  EXPECT_EQ(std::memcmp(second.bytes().data(), content.data(), content.size()), 0);
  client.flush();
}

}  // namespace
