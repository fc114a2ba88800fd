// SPDX-License-Identifier: Apache-2.0
// Any NBD server's export as a Backend: many requests in flight on one or several connections, re-dialled
// when they die. The server is not trusted: sizes, chunks, cookies and magics are checked.
//
// An outage is not an error: calls wait, and are sent again when the server is back with the same
// export. What it has acknowledged but not flushed is kept (32 MiB, and what is in flight; then this
// side flushes) and written again first, in order, so that a server that crashed and lost its page cache
// loses nothing. That needs a server that has FLUSH; one that has only FUA gets it with every write; one
// that has neither is believed when it acknowledges.
//
// Errors, beside the server's own: EIO when a call has waited longer than io_timeout; ESHUTDOWN after
// abandon(); EPROTO when the server sent nonsense several times in a row, or came back as another
// export; never wrong bytes.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/address.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct NbdClientOptions {
  unsigned connections = 1;  // used if the server, and the address, allow several
  bool read_only = false;
  std::chrono::milliseconds connect_timeout{10'000};  // for connecting, and for the handshake
  std::chrono::milliseconds io_timeout{0};  // an outage longer than this is EIO; 0 waits for ever
  const Stop* stop = nullptr;  // ends open_nbd() early (ECANCELED); not used afterwards
  // Called by a thread of the backend when the connection is lost, and when it is back. Must not call
  // the backend.
  std::function<void(bool connected)> on_change = {};
};

// Returns when the export can be used. The backend may wait for a lost server until abandon().
std::unique_ptr<Backend> open_nbd(const Address& address, const std::string& export_name,
                                  const NbdClientOptions& options);

}  // namespace r3
