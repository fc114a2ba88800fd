// SPDX-License-Identifier: Apache-2.0
// The least that an NBD server can be: one export in memory, one thread a connection, a buffer full of
// requests answered with one sendmsg, no copy of what is read, no check, no option, no end. What a
// real server loses against it is the price of being one.
//
//   batch_server ADDRESS SIZE
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <thread>
#include <vector>

#include "libcommon/base/mapping.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/socket.hpp"
#include "tests/bench/gather.hpp"

namespace r3 {

namespace {

template <class Message>
bool get(int socket, Message& message) {
  const auto bytes = std::as_writable_bytes(std::span(&message, 1));
  return read_full(socket, bytes) == bytes.size();
}

template <class Message>
void put(int socket, const Message& message) {
  write_full(socket, std::as_bytes(std::span(&message, 1)));
}

// Every option but GO is unknown; every name is the one export.
bool shake_hands(int socket, std::uint64_t size) {
  put(socket, nbd::Hello{nbd::kHelloMagic, nbd::kOptionMagic,
                         static_cast<std::uint16_t>(nbd::kFixedNewstyle | nbd::kNoZeroes)});
  nbd::Be32 flags;
  nbd::OptionRequest option;
  if (!get(socket, flags)) return false;
  while (get(socket, option)) {
    std::vector<std::byte> data(option.length);
    read_full(socket, data);
    nbd::OptionReply reply{nbd::kOptionReplyMagic, option.option, nbd::kRepErrUnsupported, 0u};
    if (option.option == nbd::kOptGo) {
      reply.type = nbd::kRepInfo;
      reply.length = sizeof(nbd::InfoExport);
      put(socket, reply);
      put(socket, nbd::InfoExport{nbd::kInfoExport, size, nbd::kHasFlags});
      reply.type = nbd::kRepAck;
      reply.length = 0;
    }
    put(socket, reply);
    if (option.option == nbd::kOptGo) return true;
  }
  return false;
}

// One turn: all whole requests of `left`, answered together. Returns the bytes that are left over, or
// nothing at the end.
class Connection {
 public:
  Connection(int socket, Bytes memory) : socket_(socket), memory_(memory) {}

  void serve() {
    if (!shake_hands(socket_, memory_.size())) return;
    for (std::size_t kept = 0;;) {
      const ssize_t got = ::recv(socket_, input_.data() + kept, input_.size() - kept, 0);
      if (got <= 0) return;
      ConstBytes left(input_.data(), kept + static_cast<std::size_t>(got));
      for (std::size_t n = 0; left.size() >= sizeof(nbd::Request); ++n)
        if (!answer(left, replies_[n])) return;
      std::memmove(input_.data(), left.data(), left.size());
      kept = left.size();
      output_.send(socket_);
    }
  }

 private:
  bool answer(ConstBytes& left, nbd::SimpleReply& reply) {
    nbd::Request request;
    std::memcpy(&request, left.data(), sizeof request);
    left = left.subspan(sizeof request);
    if (request.type == nbd::kDisconnect) return false;
    const Bytes data = memory_.subspan(request.offset, request.length);
    if (request.type == nbd::kWrite) {
      const auto here = left.first(std::min(left.size(), data.size()));
      std::memcpy(data.data(), here.data(), here.size());
      left = left.subspan(here.size());
      if (here.size() < data.size()) read_full(socket_, data.subspan(here.size()));
    }
    reply = {nbd::kSimpleReplyMagic, 0u, request.cookie};
    output_.add(std::as_bytes(std::span(&reply, 1)));
    if (request.type == nbd::kRead) output_.add(data);
    return true;
  }

  const int socket_;
  const Bytes memory_;
  std::vector<std::byte> input_ = std::vector<std::byte>(256 * KiB);
  std::vector<nbd::SimpleReply> replies_ =
      std::vector<nbd::SimpleReply>(input_.size() / sizeof(nbd::Request));
  Gather output_;
};

}  // namespace

}  // namespace r3

int main(int argc, char** argv) {
  using namespace r3;
  if (argc != 3) return std::fprintf(stderr, "usage: batch_server ADDRESS SIZE\n"), 2;
  ::signal(SIGPIPE, SIG_IGN);
  const Stop never;
  Listener listener(parse_address(argv[1]));
  const Mapping memory = Mapping::anonymous(parse_size(argv[2]));
  std::printf("%s\n", to_text(listener.address()).c_str());
  std::fflush(stdout);
  for (;;) {
    // Ended by a signal: its threads need no end of their own.
    std::thread([socket = listener.accept(never), bytes = memory.bytes()] {
      try {
        Connection(socket.get(), bytes).serve();
      } catch (const std::system_error&) {  // the client has gone
      }
    }).detach();
  }
}
