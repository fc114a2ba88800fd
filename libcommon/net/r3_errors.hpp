// SPDX-License-Identifier: Apache-2.0
// The error numbers of r3/1 (r3-protocol(7), ERRORS) are those of Linux on x86; only the listed ones travel.
#pragma once

#include <cerrno>
#include <cstdint>

namespace r3::wire {

constexpr bool is_wire_error(int error) {
  switch (error) {
    case EPERM: case ENOENT: case EIO: case EAGAIN: case ENOMEM: case EACCES: case EBUSY: case EINVAL:
    case EFBIG: case ENOSPC: case EROFS: case EOVERFLOW: case EPROTONOSUPPORT: case EOPNOTSUPP:
    case ESHUTDOWN: case ETIMEDOUT: case ESTALE: case EDQUOT:
      return true;
    default: return false;
  }
}

constexpr std::uint16_t wire_error(int error) {
  return static_cast<std::uint16_t>(is_wire_error(error) ? error : EIO);
}

}  // namespace r3::wire
