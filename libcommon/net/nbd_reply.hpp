// SPDX-License-Identifier: Apache-2.0
// What a reply of NBD's transmission phase looks like in each format: the heads that stand before data.
// Pure: writes bytes into a buffer of the caller's.
#pragma once

#include <vector>

#include "libcommon/net/nbd_request.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3::nbd::server {

// No head is longer.
inline constexpr std::size_t kLongestHead = 64;

// Data or a hole of a read's reply: the whole of it, or one chunk of several.
struct Chunk {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  bool last = false;  // nothing more follows for this request
};

// Each writes at most kLongestHead bytes and returns how many.
//
// The whole reply to a request that returns no data (with `error`, to any request); in the chunked
// formats also what ends a read whose chunks have been sent.
std::size_t put_end(std::byte* to, Format format, const Request& request, WireError error);
// What stands before the data of a read.
std::size_t put_data_head(std::byte* to, Format format, const Request& request, const Chunk& chunk);
// A chunk that says: zeroes. Not for the simple format.
std::size_t put_hole(std::byte* to, Format format, const Request& request, const Chunk& chunk);
// The last chunk of a read that failed at `offset`. Not for the simple format.
std::size_t put_error_at(std::byte* to, Format format, const Request& request, WireError error,
                         std::uint64_t offset);

// The whole reply to a BLOCK_STATUS: `extents` are adjoining and start at the request's offset. Their
// borders are moved to multiples of `minimum_block`, never claiming more zeroes than there are.
std::vector<std::byte> status_reply(Format format, const Request& request,
                                    const std::vector<Extent>& extents, std::uint32_t minimum_block);

// The id under which base:allocation is negotiated.
inline constexpr std::uint32_t kAllocationId = 1;

}  // namespace r3::nbd::server
