// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/target.hpp"

#include <sys/socket.h>
#include <xxhash.h>

#include <cstdio>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/net/region.hpp"

namespace r3 {

namespace {

bool is_nbd_uri(const std::string& text) {
  return text.starts_with("nbd:") || text.starts_with("nbd+");
}

// What the kernel takes: connected TCP and UNIX sockets.
bool is_kernel_socket(int fd) {
  int domain = 0;
  socklen_t length = sizeof domain;
  return ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
         (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6);
}

}  // namespace

Target::Target(const std::string& text, const std::string& export_name) : export_(export_name) {
  if (is_nbd_uri(text)) {
    const Region region = parse_region(text);
    address_ = region.address;
    if (!export_name.empty() && !region.rest.empty())
      throw std::invalid_argument("--export and \"" + text + "\" both name an export");
    if (!region.rest.empty()) export_ = region.rest;
  } else {
    address_ = parse_address(text);
  }
  if (address_.kind == Address::Kind::stdio || address_.kind == Address::Kind::fd)
    throw std::invalid_argument("\"" + text + "\" cannot be connected again when it is lost: " +
                                "tcp://HOST:PORT, unix:PATH, exec:COMMAND or an nbd: URI is accepted");
  name_ = to_text(address_) + (export_.empty() ? "" : " export \"" + export_ + "\"");
}

Target::Link Target::dial(std::chrono::milliseconds timeout, const Stop& stop) const {
  Link link;
  link.channel = connect_to(address_, timeout, stop);
  link.agreement =
      nbd::shake_hands(link.channel, export_, name_, timeout, stop, nbd::Replies::simple);
  if (!is_kernel_socket(link.channel.input())) link.proxy = std::make_unique<Proxy>(std::move(link.channel));
  return link;
}

std::string Target::identifier() const {
  char text[32];
  std::snprintf(text, sizeof text, "r3-%016llx",
                static_cast<unsigned long long>(XXH3_64bits(name_.data(), name_.size())));
  return text;
}

}  // namespace r3
