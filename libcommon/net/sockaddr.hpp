// SPDX-License-Identifier: Apache-2.0
// Between Address and what the socket calls take. Opens nothing, but asks the system's resolver.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "libcommon/net/address.hpp"

namespace r3 {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;

  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// Of a tcp, unix_socket or vsock address: all that its name stands for, at least one. Throws
// std::system_error when a name does not resolve.
std::vector<SocketAddress> resolve(const Address& address, bool to_listen);

// The name that a socket is bound to, as far as the grammar has one; else fd:N.
Address bound_address(int socket);

// Who is at the other end of a connected socket, for messages: its address; on this machine its process.
std::string peer_of(int socket);

// TCP_NODELAY and keep-alive, if it is TCP.
void tune_connection(int socket) noexcept;

}  // namespace r3
