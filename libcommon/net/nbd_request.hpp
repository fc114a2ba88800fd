// SPDX-License-Identifier: Apache-2.0
// One request of NBD's transmission phase: how it is read from bytes, and what the server thinks of it
// before any backend is asked. Pure: no descriptor, no thread.
#pragma once

#include <cstdint>
#include <optional>

#include "libcommon/net/nbd_protocol.hpp"

namespace r3::nbd::server {

// How replies look, agreed on in the handshake.
enum class Format { simple, structured, extended };

struct Request {
  std::uint16_t flags = 0;
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  bool has(CommandFlag flag) const { return (flags & flag) != 0; }
};

// What the requests of one connection are held to.
struct Rules {
  std::uint64_t size = 0;
  bool read_only = false;
  Format format = Format::simple;
  bool allocation = false;  // base:allocation was negotiated
  bool multi_conn = true;   // other connections see the same, and a flush covers them
  std::uint32_t minimum_block = 1;
  std::uint32_t maximum_block = kLongestPayload;
};

constexpr std::size_t request_size(Format format) {
  return format == Format::extended ? sizeof(ExtendedRequest) : sizeof(nbd::Request);
}

// The request at the start of `bytes`, or nothing if it is not there as a whole. Throws ProtocolError
// if what is there is no request: the stream is out of step then.
std::optional<Request> parse_request(ConstBytes bytes, Format format);

// How many bytes of payload follow the request.
std::uint64_t payload_size(const Request& request, Format format);

// kOk, or the error that the request deserves whatever the backend says.
WireError judge(const Request& request, const Rules& rules);

// What an errno from below becomes on the wire.
WireError to_wire(int error, const Request& request);

// The transmission flags that go with the rules.
std::uint16_t transmission_flags(const Rules& rules);

}  // namespace r3::nbd::server
