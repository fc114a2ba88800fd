// SPDX-License-Identifier: Apache-2.0
// Any NBD server's export as a Backend: many requests in flight on one or several connections, re-dialled
// when they die. The server is not trusted: sizes, chunks, cookies and magics are checked.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "libcommon/net/address.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct NbdClientOptions {
  unsigned connections = 1;  // used as far as the server allows several
  bool read_only = false;
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds io_timeout{0};  // an outage longer than this is EIO; 0 waits for ever
};

std::unique_ptr<Backend> open_nbd(const Address& address, const std::string& export_name,
                                  const NbdClientOptions& options);

}  // namespace r3
