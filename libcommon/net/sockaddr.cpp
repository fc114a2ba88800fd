// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/sockaddr.hpp"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <system_error>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

class ResolverCategory : public std::error_category {
 public:
  const char* name() const noexcept override { return "resolver"; }
  std::string message(int error) const override { return ::gai_strerror(error); }
};

template <class Sockaddr>
SocketAddress make(const Sockaddr& from, std::size_t length = sizeof(Sockaddr)) {
  SocketAddress address;
  std::memcpy(&address.storage, &from, sizeof from);
  address.length = static_cast<socklen_t>(length);
  return address;
}

std::vector<SocketAddress> resolve_tcp(const Address& address, bool to_listen) {
  static const ResolverCategory category;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (to_listen ? AI_PASSIVE : 0);
  addrinfo* list = nullptr;
  const auto port = std::to_string(address.port);
  const int error = ::getaddrinfo(address.host.c_str(), port.c_str(), &hints, &list);
  if (error == EAI_SYSTEM) fail(errno, to_text(address));
  if (error != 0) throw std::system_error(error, category, to_text(address));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
  std::vector<SocketAddress> found;
  for (const addrinfo* entry = list; entry; entry = entry->ai_next) {
    SocketAddress& next = found.emplace_back();
    std::memcpy(&next.storage, entry->ai_addr, entry->ai_addrlen);
    next.length = entry->ai_addrlen;
  }
  return found;
}

SocketAddress unix_address(const Address& address) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  const bool abstract = address.path.starts_with('@');
  if (address.path.size() - (abstract ? 1 : 0) >= sizeof name.sun_path)
    fail(ENAMETOOLONG, to_text(address));
  std::memcpy(name.sun_path, address.path.data(), address.path.size());
  if (abstract) name.sun_path[0] = '\0';
  const std::size_t length = offsetof(sockaddr_un, sun_path) + address.path.size();
  return make(name, abstract ? length : length + 1);
}

SocketAddress vsock_address(const Address& address) {
  sockaddr_vm name{};
  name.svm_family = AF_VSOCK;
  name.svm_cid = address.cid;
  name.svm_port = address.vsock_port;
  return make(name);
}

Address from_unix(const sockaddr_un& name, socklen_t length) {
  Address address{.kind = Address::Kind::unix_socket};
  const std::size_t size = length - offsetof(sockaddr_un, sun_path);
  address.path.assign(name.sun_path, size);
  if (address.path.starts_with('\0')) {
    address.path[0] = '@';
  } else {
    address.path.resize(::strnlen(address.path.data(), size));
  }
  return address;
}

// As far as the grammar has a name for it; else fd:N.
Address to_address(const SocketAddress& name, int socket) {
  Address address{.kind = Address::Kind::tcp};
  char text[INET6_ADDRSTRLEN];
  if (name.family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&name.storage);
    address.host = ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    address.port = ntohs(v4->sin_port);
    return address;
  }
  if (name.family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&name.storage);
    address.host = ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    address.port = ntohs(v6->sin6_port);
    return address;
  }
  if (name.family() == AF_UNIX && name.length > offsetof(sockaddr_un, sun_path))
    return from_unix(reinterpret_cast<const sockaddr_un&>(name.storage), name.length);
  if (name.family() == AF_VSOCK) {
    const auto* vm = reinterpret_cast<const sockaddr_vm*>(&name.storage);
    return {.kind = Address::Kind::vsock, .cid = vm->svm_cid, .vsock_port = vm->svm_port};
  }
  return {.kind = Address::Kind::fd, .fd = socket};
}

}  // namespace

std::vector<SocketAddress> resolve(const Address& address, bool to_listen) {
  if (address.kind == Address::Kind::tcp) return resolve_tcp(address, to_listen);
  if (address.kind == Address::Kind::unix_socket) return {unix_address(address)};
  return {vsock_address(address)};
}

Address bound_address(int socket) {
  SocketAddress name;
  name.length = sizeof name.storage;
  check(::getsockname(socket, reinterpret_cast<sockaddr*>(&name.storage), &name.length),
        "getsockname");
  return to_address(name, socket);
}

std::string peer_of(int socket) {
  SocketAddress name;
  name.length = sizeof name.storage;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&name.storage), &name.length) != 0)
    return to_text(Address{.kind = Address::Kind::fd, .fd = socket});
  if (name.family() != AF_UNIX) return to_text(to_address(name, socket));
  ucred process{};
  socklen_t size = sizeof process;
  ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &process, &size);
  return "process " + std::to_string(process.pid) + " of user " + std::to_string(process.uid);
}

void tune_connection(int socket) noexcept {
  const auto set = [socket](int level, int option, int value) {
    return ::setsockopt(socket, level, option, &value, sizeof value) == 0;
  };
  if (!set(IPPROTO_TCP, TCP_NODELAY, 1)) return;  // not TCP
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

}  // namespace r3
