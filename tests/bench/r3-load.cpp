// SPDX-License-Identifier: Apache-2.0
// Load on an r3/1 server with memory in the same process, so that the CPU time of both ends is one figure: one
// thread keeps DEPTH reads or DEPTH threads' writes in flight. With `background`, long background reads fill
// the link meanwhile and the times are those of lone demand reads. Prints one line of JSON.
//
//   r3-load plain|encrypted unix|tcp read|write|background BLOCK DEPTH SECONDS [LISTEN CONNECT]
//
// LISTEN and CONNECT: addresses of the server and of a proxy before it.
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/base/tasks.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/net/r3_connect.hpp"
#include "libcommon/net/r3_slot.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint64_t kRegion = 256 * MiB;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

struct Load {
  std::uint64_t block;
  unsigned depth;
  Clock::time_point end;
  std::uint64_t done = 0;
  std::vector<double> times = {};
};

std::uint64_t next_offset(std::uint64_t i, std::uint64_t block) {
  return i * 7919 * block % (kRegion - block) / block * block;
}

void keep_reading(R3Client& client, Load& load) {
  std::vector<R3Call> calls(load.depth);
  std::vector<std::byte> memory(load.block * load.depth);
  std::uint64_t started = 0;
  const auto start = [&](std::size_t slot) {
    const auto i = started++;
    client.start_read(calls[slot], {memory.data() + slot * load.block, load.block},
                      next_offset(i, load.block), false, i % 16 != 15);
  };
  for (std::size_t slot = 0; slot < load.depth; ++slot) start(slot);
  while (Clock::now() < load.end)
    for (std::size_t slot = 0; slot < load.depth; ++slot, ++load.done) {
      client.wait(calls[slot]);
      start(slot);
    }
  for (auto& call : calls) client.wait(call);
}

void keep_writing(R3Client& client, Load& load) {
  std::atomic<std::uint64_t> done{0};
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < load.depth; ++t)
      threads.emplace_back([&, t] {
        std::vector<std::byte> bytes(load.block);
        std::mt19937_64 random(t);
        for (auto& b : bytes) b = static_cast<std::byte>(random());
        for (std::uint64_t i = t; Clock::now() < load.end; i += load.depth, ++done)
          client.write_at(bytes, i * load.block % kRegion);
      });
  }
  load.done = done;
}

void read_over_background(R3Client& client, Load& load) {
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < load.depth; ++t)
    threads.emplace_back([&, t] {
      std::vector<std::byte> into(1 * MiB);
      for (std::uint64_t i = t; Clock::now() < load.end; i += load.depth)
        client.read_background(into, i * MiB % kRegion);
    });
  std::vector<std::byte> into(load.block);
  for (; Clock::now() < load.end; ++load.done) {
    const auto start = Clock::now();
    client.read_at(into, next_offset(load.done, load.block));
    load.times.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    std::this_thread::sleep_for(5ms);
  }
}

int run_load(const std::vector<std::string>& args) {
  MemoryBackend memory(kRegion);
  std::vector<std::byte> noise(1 * MiB);
  std::mt19937_64 random(1);
  for (auto& b : noise) b = static_cast<std::byte>(random());
  for (std::uint64_t at = 0; at < kRegion; at += noise.size()) memory.write_at(noise, at);
  R3Policy policy;
  R3Security security;
  policy.plain = args[0] == "plain";
  if (!policy.plain) {
    security.keys.psk = SecretKey::generate();
    policy.keys = ServerKeys{{}, security.keys.psk, false};
  }
  R3Server server({{"", &memory, false, true}}, {});
  const bool through = args.size() == 8;
  Listener listener(parse_address(through ? args[6]
                                  : args[1] == "tcp" ? "tcp://127.0.0.1:0" : "unix:@r3-load"));
  const Address address = through ? parse_address(args[7]) : listener.address();
  TaskGroup threads;
  threads.spawn([&] {
    Fd fd = listener.accept(threads.stop());
    R3Accepted one = r3_accept(Channel(std::move(fd)), std::make_shared<R3Policy>(policy),
                               threads.stop(), 10s);
    server.serve(*one.link, one.sums, one.peer, threads.stop());
  });
  const auto seconds = std::chrono::duration<double>(std::stod(args[5]));
  {
    R3Client client(r3_dial(address, security, 10s), {});
    Load load{parse_size(args[3]), static_cast<unsigned>(std::stoul(args[4])),
              Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds)};
    const double before = cpu_seconds();
    const auto start = Clock::now();
    if (args[2] == "read") keep_reading(client, load);
    else if (args[2] == "write") keep_writing(client, load);
    else read_over_background(client, load);
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    const auto done = static_cast<double>(load.done);
    Json line;
    line.add("ops", done / took).add("mb", done * static_cast<double>(load.block) / took / 1e6)
        .add("cpu_us", (cpu_seconds() - before) / done * 1e6);
    if (!load.times.empty()) {
      std::sort(load.times.begin(), load.times.end());
      line.add("p50_ms", load.times[load.times.size() / 2] * 1e3)
          .add("p99_ms", load.times[load.times.size() * 99 / 100] * 1e3)
          .add("all_mb", static_cast<double>(server.counters().bytes_read) / took / 1e6);
    }
    std::puts(line.text().c_str());
  }
  return 0;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  if (argc != 7 && argc != 9) {
    std::fputs("usage: r3-load plain|encrypted unix|tcp read|write|background BLOCK DEPTH SECONDS"
               " [LISTEN CONNECT]\n", stderr);
    return 2;
  }
  try {
    return r3::run_load({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "r3-load: %s\n", error.what());
    return 1;
  }
}
