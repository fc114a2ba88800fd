// SPDX-License-Identifier: Apache-2.0
// What the socket itself can do: messages of NBD's sizes go back and forth between two processes, and
// nobody looks at them. Prints one line of JSON as nbd-load does, with the CPU time of both processes.
//
//   socket_exchange unix|tcp read|write BLOCK DEPTH SECONDS
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

// Receives what there is; returns how many whole messages of `size` that completes.
std::uint64_t take(int socket, Bytes buffer, std::size_t size, std::uint64_t& seen, bool& ended) {
  const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
  ended = got <= 0;
  if (ended) return 0;
  const std::uint64_t before = seen / size;
  seen += static_cast<std::uint64_t>(got);
  return seen / size - before;
}

void answer(int socket, Sizes sizes) {
  std::vector<std::byte> input(512 * KiB), reply(sizes.reply);
  std::uint64_t seen = 0;
  Gather output;
  for (bool ended = false; !ended;) {
    for (auto n = take(socket, input, sizes.request, seen, ended); n > 0; --n) output.add(reply);
    output.send(socket);
  }
}

double ask(int socket, Sizes sizes, std::uint64_t depth, double seconds) {
  std::vector<std::byte> input(512 * KiB), request(sizes.request);
  std::uint64_t seen = 0, done = 0, free = depth;
  bool ended = false;
  Gather output;
  const auto begin = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
  while (passed() < seconds && !ended) {
    for (; free > 0; --free) output.add(request);
    output.send(socket);
    free = take(socket, input, sizes.reply, seen, ended);
    done += free;
  }
  return static_cast<double>(done) / passed();
}

int exchange(char** argv) {
  const bool reading = std::string(argv[2]) == "read";
  const std::uint64_t block = parse_size(argv[3]);
  const Sizes sizes = reading ? Sizes{28, 16 + block} : Sizes{28 + block, 16};
  SocketPair pair = std::string(argv[1]) == "tcp" ? tcp_pair() : make_socket_pair();
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    pair.ours.reset();
    try {
      answer(pair.theirs.get(), sizes);
    } catch (const std::system_error&) {  // the asker leaves in the middle of an answer
    }
    ::_exit(0);
  }
  pair.theirs.reset();
  const double ops = ask(pair.ours.get(), sizes, parse_number(argv[4], 4096), std::stod(argv[5]));
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
  if (argc == 6) return r3::exchange(argv);
  std::fprintf(stderr, "usage: socket_exchange unix|tcp read|write BLOCK DEPTH SECONDS\n");
  return 2;
}
