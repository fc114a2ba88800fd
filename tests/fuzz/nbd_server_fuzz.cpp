// SPDX-License-Identifier: Apache-2.0
// The NBD server against a client that says anything. The input's first byte chooses how the
// connection starts (bits 0-2) and what the export is (bit 3: answered by workers; bit 4: blocks of 512
// bytes; bit 5: read-only); the rest is what the client sends. The real engine answers over a socket
// pair, as it would anybody.
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <thread>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/storage/memory.hpp"
#include "tests/unit/far_memory.hpp"

namespace {

using namespace r3;
using test::FarMemory;

template <class Wire>
void append(std::string& to, const Wire& wire) {
  to.append(reinterpret_cast<const char*>(&wire), sizeof wire);
}

void append_option(std::string& to, std::uint32_t option, const std::string& data) {
  append(to, nbd::OptionRequest{nbd::kOptionMagic, option, static_cast<std::uint32_t>(data.size())});
  to += data;
}

// What is said before the input: nothing, the flags, or all up to the transmission phase.
std::string beginning(int kind) {
  std::string said;
  if (kind == 0) return said;
  append(said, nbd::Be32(nbd::kFixedNewstyle | nbd::kNoZeroes));
  if (kind == 1) return said;
  if (kind >= 3) append_option(said, nbd::kOptStructuredReply, {});
  if (kind >= 4) append_option(said, nbd::kOptExtendedHeaders, {});
  if (kind >= 5)
    append_option(said, nbd::kOptSetMetaContext,
                  {std::string("\0\0\0\0\0\0\0\1\0\0\0\017base:allocation", 27)});
  append_option(said, nbd::kOptGo, std::string(6, '\0'));
  return said;
}

void say(int socket, std::string_view text) {
  while (!text.empty()) {
    const auto sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const int how = data[0];
  MemoryBackend near(1 * MiB);
  FarMemory far(1 * MiB);
  Backend* backend = how & 8 ? &far : &near;
  NbdServerOptions options;
  options.workers = 2;
  if (how & 16) options.minimum_block = 512;
  NbdServer server({{"", "fuzzed", backend, (how & 32) != 0}, {"other", "", &near, true}}, options);

  auto pair = make_socket_pair();
  std::jthread client([&] {
    say(pair.ours.get(), beginning(how & 7));
    say(pair.ours.get(), {reinterpret_cast<const char*>(data + 1), size - 1});
    ::shutdown(pair.ours.get(), SHUT_WR);
    char ignored[65536];
    while (::recv(pair.ours.get(), ignored, sizeof ignored, 0) > 0) continue;
  });
  Stop stop;
  try {
    server.serve(Channel(std::move(pair.theirs)), stop);
  } catch (const ProtocolError&) {
  }
  return 0;
}
