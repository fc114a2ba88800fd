// SPDX-License-Identifier: Apache-2.0
// Where to listen or connect, in one grammar for every tool (r3tools(7), ADDRESSES):
//
//   tcp://HOST:PORT   unix:PATH   unix:@NAME   vsock://CID:PORT   fd:N   -   exec:COMMAND
//
// IPv6 goes in brackets; unix:///PATH is unix:/PATH; a CID is a number, any, host or local. Pure text:
// nothing is resolved or opened here. Bad text throws std::invalid_argument, with what was given and
// what is accepted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace r3 {

struct Address {
  enum class Kind { tcp, unix_socket, vsock, fd, stdio, exec };
  Kind kind = Kind::tcp;
  std::string host{};       // tcp: a name or number, without brackets
  std::uint16_t port = 0;   // tcp; 0 only to listen on any free port
  std::string path{};       // unix_socket: a path, or '@' and an abstract name
  std::uint32_t cid = 0;    // vsock
  std::uint32_t vsock_port = 0;
  int fd = -1;              // fd
  std::string command{};    // exec: for sh -c
  friend bool operator==(const Address&, const Address&) = default;
};

Address parse_address(std::string_view text);
// The form that parse_address takes.
std::string to_text(const Address& address);

// Whether only this machine can reach a listener there: loopback, UNIX, a descriptor, a command.
bool is_local(const Address& address);

// Whether a second connection there would not reach the same server: a descriptor is gone, and a command
// runs once more.
bool is_one_connection(const Address& address);

// RFC 3986 percent-encoding of what a URI cannot carry plainly, and back (bad escapes throw).
std::string percent_encode(std::string_view text);
std::string percent_decode(std::string_view text);

}  // namespace r3
