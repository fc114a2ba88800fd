// SPDX-License-Identifier: Apache-2.0
// NBD's handshake, fixed newstyle, from the server's side: options are haggled over until the client
// chooses an export or leaves. What is taken from the client is bounded in bytes, options and time.
// Exports are looked up in a table and nowhere else.
#pragma once

#include <optional>
#include <span>

#include "libcommon/net/nbd_request.hpp"
#include "libcommon/net/nbd_server.hpp"
#include "libcommon/net/nbd_stream.hpp"

namespace r3::nbd::server {

struct Agreement {
  const NbdExport* chosen = nullptr;
  Rules rules;
};

// What an export's requests are held to before anything was negotiated.
Rules rules_for(const NbdExport& exported, const NbdServerOptions& options);

// Nothing when the client left, aborted or took too long for the stop; otherwise the transmission phase
// is on. Throws ProtocolError for nonsense and ETIMEDOUT when the deadline has passed.
std::optional<Agreement> shake_hands(Stream& stream, std::span<const NbdExport> exports,
                                     const NbdServerOptions& options);

}  // namespace r3::nbd::server
