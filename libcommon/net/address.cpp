// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/address.hpp"

#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/un.h>

#include <charconv>
#include <limits>
#include <stdexcept>

namespace r3 {

namespace {

// One byte of sun_path is the zero that ends a path, or that starts an abstract name.
constexpr std::size_t kLongestPath = sizeof(sockaddr_un::sun_path) - 1;

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw std::invalid_argument("address \"" + std::string(text) + "\": " + why);
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

template <class Number>
bool is_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool is_ipv6(std::string_view host) {
  in6_addr ignored;
  const std::string number(host.substr(0, host.find('%')));  // the rest is the zone
  return ::inet_pton(AF_INET6, number.c_str(), &ignored) == 1;
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253) return false;
  for (const char c : host) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!letter && c != '.' && c != '-' && c != '_') return false;
  }
  return host[0] != '-';
}

Address parse_tcp(std::string_view text, std::string_view rest) {
  Address address{.kind = Address::Kind::tcp};
  const auto colon = rest.rfind(':');
  const auto port = colon == rest.npos ? "" : rest.substr(colon + 1);
  if (colon == rest.npos || !is_number(port, address.port))
    refuse(text, "tcp://HOST:PORT is accepted, with a port from 0 to 65535");
  std::string_view host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (!is_ipv6(host)) refuse(text, "no IPv6 address stands between the brackets");
  } else if (host.find(':') != host.npos) {
    refuse(text, "an IPv6 address goes in brackets: tcp://[::1]:10809");
  } else if (!is_host_name(host)) {
    refuse(text, "tcp://HOST:PORT is accepted, with a host name or an IP address");
  }
  address.host = host;
  return address;
}

Address parse_unix(std::string_view text, std::string_view path) {
  if (path.starts_with("//")) {
    path.remove_prefix(2);
    if (!path.starts_with('/')) refuse(text, "unix:PATH, unix:///PATH and unix:@NAME are accepted");
  }
  const bool abstract = path.starts_with('@');
  if (path.size() <= (abstract ? 1 : 0)) refuse(text, "unix:PATH or unix:@NAME is accepted");
  if (path.find('\0') != path.npos) refuse(text, "a socket's path has no zero bytes");
  if (path.size() - (abstract ? 1 : 0) > kLongestPath)
    refuse(text, "a socket's path has " + std::to_string(kLongestPath) + " bytes at most, not " +
                     std::to_string(path.size() - (abstract ? 1 : 0)));
  Address address{.kind = Address::Kind::unix_socket};
  address.path = path;
  return address;
}

Address parse_vsock(std::string_view text, std::string_view rest) {
  Address address{.kind = Address::Kind::vsock};
  const auto colon = rest.find(':');
  const auto cid = rest.substr(0, colon);
  const bool named = cid == "any" || cid == "host" || cid == "local";
  if (cid == "any") address.cid = VMADDR_CID_ANY;
  if (cid == "host") address.cid = VMADDR_CID_HOST;
  if (cid == "local") address.cid = 1;  // VMADDR_CID_LOCAL of newer headers
  if (colon == rest.npos || (!named && !is_number(cid, address.cid)) ||
      !is_number(rest.substr(colon + 1), address.vsock_port))
    refuse(text, "vsock://CID:PORT is accepted, with a number, any, host or local as the CID");
  return address;
}

Address parse_fd(std::string_view text, std::string_view rest) {
  Address address{.kind = Address::Kind::fd};
  if (!is_number(rest, address.fd) || address.fd < 0)
    refuse(text, "fd:N is accepted, with the number of an open descriptor");
  return address;
}

Address parse_exec(std::string_view text, std::string_view command) {
  if (command.find_first_not_of(" \t\n") == command.npos || command.find('\0') != command.npos)
    refuse(text, "exec:COMMAND is accepted, with a command for sh");
  Address address{.kind = Address::Kind::exec};
  address.command = command;
  return address;
}

bool is_loopback(const std::string& host) {
  if (::strcasecmp(host.c_str(), "localhost") == 0) return true;
  in_addr v4;
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  if (::inet_pton(AF_INET6, host.c_str(), &v6) != 1) return false;
  return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Address parse_address(std::string_view text) {
  if (text == "-") return {.kind = Address::Kind::stdio};
  std::string_view rest = text;
  if (take_prefix(rest, "tcp://")) return parse_tcp(text, rest);
  if (take_prefix(rest, "unix:")) return parse_unix(text, rest);
  if (take_prefix(rest, "vsock://")) return parse_vsock(text, rest);
  if (take_prefix(rest, "fd:")) return parse_fd(text, rest);
  if (take_prefix(rest, "exec:")) return parse_exec(text, rest);
  refuse(text, "tcp://HOST:PORT, unix:PATH, vsock://CID:PORT, fd:N, exec:COMMAND or - is accepted");
}

std::string to_text(const Address& address) {
  switch (address.kind) {
    case Address::Kind::tcp: {
      const bool v6 = address.host.find(':') != std::string::npos;
      return "tcp://" + (v6 ? "[" + address.host + "]" : address.host) + ":" +
             std::to_string(address.port);
    }
    case Address::Kind::unix_socket:
      return (address.path.starts_with("//") ? "unix://" : "unix:") + address.path;
    case Address::Kind::vsock:
      return "vsock://" + (address.cid == VMADDR_CID_ANY ? "any" : std::to_string(address.cid)) +
             ":" + std::to_string(address.vsock_port);
    case Address::Kind::fd:
      return "fd:" + std::to_string(address.fd);
    case Address::Kind::stdio:
      return "-";
    case Address::Kind::exec:
      return "exec:" + address.command;
  }
  return {};
}

bool is_local(const Address& address) {
  if (address.kind == Address::Kind::tcp) return is_loopback(address.host);
  if (address.kind == Address::Kind::vsock) return address.cid == 1;
  return true;
}

bool is_one_connection(const Address& address) {
  return address.kind == Address::Kind::fd || address.kind == Address::Kind::stdio ||
         address.kind == Address::Kind::exec;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view plain = "-._~/:@";
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || plain.find(c) != plain.npos) {
      encoded += c;
    } else {
      encoded += {'%', digits[byte >> 4], digits[byte & 15]};
    }
  }
  return encoded;
}

std::string percent_decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0)
      throw std::invalid_argument("\"" + std::string(text) +
                                  "\": two hexadecimal digits must follow each % (%25 is a plain %)");
    decoded += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return decoded;
}

}  // namespace r3
