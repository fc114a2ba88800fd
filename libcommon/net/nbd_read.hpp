// SPDX-License-Identifier: Apache-2.0
// Data of a read that has to be fetched through a buffer first: what waits in a backend, and what the
// kernel could not take from borrowed memory. Memory use is bounded whatever the request's length.
#pragma once

#include "libcommon/net/nbd_reply.hpp"
#include "libcommon/net/nbd_stream.hpp"
#include "libcommon/net/nbd_tally.hpp"

namespace r3::nbd::server {

// How much of a read is in memory at once.
inline constexpr std::uint64_t kReadSlice = 1 * MiB;

// What the replies of one connection are made with.
struct Session {
  Stream& stream;
  Backend& backend;
  Rules rules;
  Tally& tally;
};

// In a catch block: what the exception becomes on the wire. A client learns no more than "I/O error"; why is
// for whoever runs the server.
WireError refuse(Session& session, const Request& request) noexcept;

// Answers the whole request: with an error if it fails before anything was sent; later than that by a
// padded chunk and an error chunk, or, in the simple format, by giving the connection up. `buffer`
// holds at least min(length, kReadSlice). Must be called without the turn to send.
void answer_read(Session& session, const Request& request, Bytes buffer);

// Sends the data of one chunk of which the first `skip` bytes, head included, have been sent already.
// True if the chunk was sent; false if its reply has been ended by an error, or the peer is gone.
// Must be called with the turn, or without (`turn` unlocked): then it is taken as late as possible.
bool send_chunk(Session& session, const Request& request, const Chunk& chunk, std::uint64_t skip,
                Bytes buffer, std::unique_lock<std::mutex>& turn);

}  // namespace r3::nbd::server
