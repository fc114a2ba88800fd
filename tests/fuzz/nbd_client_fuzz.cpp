// SPDX-License-Identifier: Apache-2.0
// What an NBD server may send, as the client takes it. The first byte chooses: bit 0 the handshake or
// the replies to five requests, bit 1 whether structured replies were agreed on. Bytes around the places
// of the answers must stay as they are.
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_client_connection.hpp"

namespace {

using namespace r3::nbd;

constexpr std::size_t kMost = 60'000;  // fits into the socket
constexpr std::byte kGuard{0xaa};

void require(bool holds) {
  if (!holds) std::abort();
}

void try_handshake(const r3::Channel& channel) {
  const r3::Stop stop;
  try {
    const Agreement agreed = shake_hands(channel, "export", "server", std::chrono::seconds(5), stop);
    require(agreed.size >> 63 == 0 && agreed.maximum >= agreed.minimum && agreed.maximum <= kLongestPayload);
  } catch (const std::system_error&) {
  } catch (const r3::ProtocolError&) {
  }
}

Call& prepare(Call& call, Command command, std::uint64_t offset, std::uint32_t length) {
  call.command = command;
  call.offset = offset;
  call.length = length;
  return call;
}

void try_replies(r3::Channel channel, bool structured) {
  std::array<std::byte, 3 * 4096> place;
  place.fill(kGuard);
  const auto into = r3::Bytes(place).subspan(4096, 4096);
  std::array<Call, 5> calls;
  prepare(calls[0], kRead, 8192, 4096).into = into;
  prepare(calls[1], kWrite, 0, 16).payload = r3::ConstBytes(place).first(16);
  prepare(calls[2], kBlockStatus, 4096, 65536).most_extents = 4;
  prepare(calls[3], kFlush, 0, 0);
  std::array<std::byte, 8> small{};
  prepare(calls[4], kRead, 16, 8).into = small;
  Agreement agreement;
  agreement.structured = structured;
  if (structured) agreement.allocation = 1;
  Connection connection(std::move(channel), agreement);
  for (Call& call : calls) connection.submit(call, {});
  for (Call& call : calls) connection.wait(call, {});
  const auto is_guard = [](std::byte byte) { return byte == kGuard; };
  require(std::all_of(place.begin(), place.begin() + 4096, is_guard));
  require(std::all_of(place.begin() + 8192, place.end(), is_guard));
  for (const Call& call : calls) {
    require(call.state == Call::State::answered || call.state == Call::State::lost);
    if (call.command != kBlockStatus || call.state != Call::State::answered || call.error != 0) continue;
    require(!call.extents.empty() && call.extents.front().offset == call.offset);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > kMost) return 0;
  r3::SocketPair pair = r3::make_socket_pair();
  r3::write_full(pair.theirs.get(), std::as_bytes(std::span(data, size)).subspan(1));
  ::shutdown(pair.theirs.get(), SHUT_WR);
  r3::Channel channel(std::move(pair.ours));
  if (data[0] & 1) {
    try_handshake(channel);
  } else {
    try_replies(std::move(channel), data[0] & 2);
  }
  return 0;
}
