// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/only_one.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>

#include "libcommon/base/error.hpp"

namespace r3 {

Fd hold_name(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string whole = "r3tools/" + name;
  if (whole.size() > sizeof address.sun_path - 1) fail(ENAMETOOLONG, name);
  whole.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  Fd held(check(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + whole.size());
  if (::bind(held.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) return held;
  if (errno != EADDRINUSE) fail(errno, name);
  return Fd();
}

}  // namespace r3
