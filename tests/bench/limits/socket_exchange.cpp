// SPDX-License-Identifier: Apache-2.0
// What the socket itself can do: messages of NBD's sizes go back and forth between two processes, and
// nobody looks at them. With "checked", what is asked for lies in 256 MiB of memory, and both ends sum it:
// the least that a region in memory with a checksum a message can be. Prints one line of JSON as nbd-load
// does, with the CPU time of both processes.
//
//   socket_exchange unix|tcp read|write BLOCK DEPTH SECONDS [checked]
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "libcommon/base/sizes.hpp"
#include "libcommon/cli/events.hpp"
#include "libcommon/net/socket.hpp"
#include "tests/bench/gather.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kInput = 512 * KiB;

struct Sizes {
  std::size_t request;
  std::size_t reply;
};

double cpu_seconds(int who) {
  rusage used{};
  ::getrusage(who, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
}

SocketPair tcp_pair() {
  Stop never;
  Listener listener(parse_address("tcp://127.0.0.1:0"));
  Channel channel = connect_to(listener.address(), std::chrono::seconds(5), never);
  return {duplicate(channel.input()), listener.accept(never)};
}

// The other end's payload, summed if that is asked for.
std::uint64_t sum_of(ConstBytes bytes, bool checked) {
  return checked ? XXH3_64bits(bytes.data(), bytes.size()) : 0;
}

// A block of memory after the other: always the same one, or, checked, one of 256 MiB.
class Blocks {
 public:
  Blocks(std::size_t block, bool checked)
      : memory_(checked ? 256 * MiB : block, std::byte{1}), block_(block) {}

  Bytes next() {
    at_ = (at_ + kStride * block_) % (memory_.size() - block_ + 1) / 64 * 64;
    return Bytes(memory_).subspan(at_, block_);
  }

 private:
  static constexpr std::size_t kStride = 7919;  // so that no processor sees it coming
  std::vector<std::byte> memory_;
  std::size_t block_, at_ = 0;
};

// Receives what there is; returns how many whole messages of `size` that completes.
std::uint64_t take(int socket, Bytes buffer, std::size_t size, std::uint64_t& seen, bool& ended) {
  const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
  ended = got <= 0;
  if (ended) return 0;
  const std::uint64_t before = seen / size;
  seen += static_cast<std::uint64_t>(got);
  return seen / size - before;
}

void answer(int socket, Sizes sizes, bool checked) {
  const bool reading = sizes.reply > sizes.request;
  Blocks input(kInput, checked && !reading), replies(sizes.reply, checked && reading);
  std::uint64_t seen = 0, sums = 0;
  Gather output;
  for (bool ended = false; !ended;) {
    const Bytes into = input.next();
    const auto before = seen;
    auto n = take(socket, into, sizes.request, seen, ended);
    sums += sum_of(into.first(seen - before), checked);
    for (; n > 0; --n) {
      const Bytes reply = replies.next();
      sums += sum_of(reply, checked);
      output.add(reply);
    }
    output.send(socket);
  }
  ::_exit(sums == 0 && checked ? 1 : 0);
}

double ask(int socket, Sizes sizes, std::uint64_t depth, double seconds, bool checked) {
  std::vector<std::byte> input(kInput), request(sizes.request);
  std::uint64_t seen = 0, done = 0, free = depth, sums = 0;
  bool ended = false;
  Gather output;
  const auto begin = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  while (passed() < seconds && !ended) {
    for (; free > 0; --free) {
      sums += sum_of(request, checked);
      output.add(request);
    }
    output.send(socket);
    const auto before = seen;
    free = take(socket, input, sizes.reply, seen, ended);
    sums += sum_of(Bytes(input).first(seen - before), checked);
    done += free;
  }
  if (checked && sums == 0) throw std::runtime_error("nothing was summed");
  return static_cast<double>(done) / passed();
}

int exchange(char** argv, bool checked) {
  const bool reading = std::string(argv[2]) == "read";
  const std::uint64_t block = parse_size(argv[3]);
  const Sizes sizes = reading ? Sizes{28, 16 + block} : Sizes{28 + block, 16};
  SocketPair pair = std::string(argv[1]) == "tcp" ? tcp_pair() : make_socket_pair();
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    pair.ours.reset();
    try {
      answer(pair.theirs.get(), sizes, checked);
    } catch (const std::system_error&) {  // the asker leaves in the middle of an answer
    }
    ::_exit(0);
  }
  pair.theirs.reset();
  const double ops = ask(pair.ours.get(), sizes, parse_number(argv[4], 4096), std::stod(argv[5]), checked);
  pair.ours.reset();
  ::waitpid(child, nullptr, 0);
  const double cpu = cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
  const auto line = Json().add("ops", ops).add("mb", ops * static_cast<double>(block) * 1e-6)
                        .add("cpu_us", cpu / (ops * std::stod(argv[5])) * 1e6);
  std::printf("%s\n", line.text().c_str());
  return 0;
}

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  const bool checked = argc == 7 && std::string(argv[6]) == "checked";
  if (argc == 6 || checked) return r3::exchange(argv, checked);
  std::fprintf(stderr, "usage: socket_exchange unix|tcp read|write BLOCK DEPTH SECONDS [checked]\n");
  return 2;
}
