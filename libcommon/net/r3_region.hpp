// SPDX-License-Identifier: Apache-2.0
// r3 servers as regions: what the schemes r3, r3+unix, r3+vsock, r3+exec and r3+fd and their parameters mean.
//
//   server-key=KEY|FILE   the server's public key (r3pk1_...) or a file with it
//   key-file=FILE         our private key
//   psk-file=FILE         a pre-shared key
//   plain=yes             without encryption even off the machine
//   compress=auto|yes|no  whether data may be compressed where that pays: auto unless both ends are on one
//                         machine, yes even then
//
// Without any key the connection is in plain mode (checksums, no secrecy), which only a local address allows
// of itself.
#pragma once

#include "libcommon/net/region.hpp"

namespace r3 {

inline constexpr std::uint16_t kR3Port = 10833;

std::unique_ptr<Backend> open_r3(const Region& region, const RegionOptions& options);

}  // namespace r3
