// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_reply.hpp"

#include <algorithm>
#include <cstring>

namespace r3::nbd::server {

namespace {

template <class Wire>
std::size_t put(std::byte* to, const Wire& wire) {
  std::memcpy(to, &wire, sizeof wire);
  return sizeof wire;
}

std::size_t put_chunk_header(std::byte* to, Format format, const Request& request, bool last,
                             std::uint16_t type, std::uint64_t length) {
  const std::uint16_t flags = last ? kChunkDone : 0;
  if (format == Format::extended)
    return put(to, ExtendedChunkHeader{kExtendedReplyMagic, flags, type, request.cookie,
                                       request.offset, length});
  return put(to, ChunkHeader{kStructuredReplyMagic, flags, type, request.cookie,
                             static_cast<std::uint32_t>(length)});
}

// Merges extents and cuts them at multiples of a block: a block that several share is a hole, or
// zero, only if all of them are.
class Aligned {
 public:
  Aligned(std::uint64_t block) : block_(block) {}

  void add(std::uint64_t length, std::uint32_t flags) {
    if (partial_ > 0) {
      const auto taken = std::min(length, block_ - partial_);
      flags_ &= flags;
      partial_ += taken;
      length -= taken;
      if (partial_ < block_) return;
      append(block_, flags_);
      partial_ = 0;
    }
    append(round_down(length, block_), flags);
    partial_ = length % block_;
    flags_ = flags;
  }
  // An unfinished block at the end counts as data, but only if the answer would be empty without it.
  const std::vector<ExtendedStatusDescriptor>& result() {
    if (found_.empty()) append(block_, 0);
    return found_;
  }

 private:
  void append(std::uint64_t length, std::uint32_t flags) {
    if (length == 0) return;
    if (!found_.empty() && found_.back().flags == flags)
      found_.back().length = found_.back().length + length;
    else
      found_.push_back({length, flags});
  }

  std::uint64_t block_;
  std::uint64_t partial_ = 0;
  std::uint32_t flags_ = 0;
  std::vector<ExtendedStatusDescriptor> found_;
};

}  // namespace

std::size_t put_end(std::byte* to, Format format, const Request& request, WireError error) {
  const bool chunked = format == Format::extended ||
                       (format == Format::structured &&
                        (request.type == kRead || request.type == kBlockStatus));
  if (!chunked) return put(to, SimpleReply{kSimpleReplyMagic, error, request.cookie});
  if (error == kOk) return put_chunk_header(to, format, request, true, kChunkNone, 0);
  auto size = put_chunk_header(to, format, request, true, kChunkError, sizeof(ErrorChunk));
  size += put(to + size, ErrorChunk{error, 0});
  return size;
}

std::size_t put_data_head(std::byte* to, Format format, const Request& request,
                          const Chunk& chunk) {
  if (format == Format::simple) return put(to, SimpleReply{kSimpleReplyMagic, kOk, request.cookie});
  auto size = put_chunk_header(to, format, request, chunk.last, kChunkOffsetData,
                               sizeof(Be64) + chunk.length);
  size += put(to + size, Be64(chunk.offset));
  return size;
}

std::size_t put_hole(std::byte* to, Format format, const Request& request, const Chunk& chunk) {
  auto size =
      put_chunk_header(to, format, request, chunk.last, kChunkOffsetHole, sizeof(HoleChunk));
  size += put(to + size, HoleChunk{chunk.offset, static_cast<std::uint32_t>(chunk.length)});
  return size;
}

std::size_t put_error_at(std::byte* to, Format format, const Request& request, WireError error,
                         std::uint64_t offset) {
  auto size = put_chunk_header(to, format, request, true, kChunkErrorOffset,
                               sizeof(ErrorChunk) + sizeof(Be64));
  size += put(to + size, ErrorChunk{error, 0});
  size += put(to + size, Be64(offset));
  return size;
}

std::vector<std::byte> status_reply(Format format, const Request& request,
                                    const std::vector<Extent>& extents,
                                    std::uint32_t minimum_block) {
  Aligned aligned(minimum_block);
  for (const auto& extent : extents)
    aligned.add(extent.length, (extent.hole ? kStateHole : 0) | (extent.zero ? kStateZero : 0));
  auto found = aligned.result();
  if (request.has(kReqOne)) found.resize(1);

  const bool extended = format == Format::extended;
  const auto each = extended ? sizeof(ExtendedStatusDescriptor) : sizeof(StatusDescriptor);
  const auto before = extended ? 2 * sizeof(Be32) : sizeof(Be32);
  const auto payload = before + each * found.size();
  std::vector<std::byte> reply(kLongestHead + payload);
  auto size = put_chunk_header(reply.data(), format, request, true,
                               extended ? kChunkBlockStatusExt : kChunkBlockStatus, payload);
  size += put(&reply[size], Be32(kAllocationId));
  if (extended) size += put(&reply[size], Be32(static_cast<std::uint32_t>(found.size())));
  for (const auto& one : found) {
    if (extended) {
      size += put(&reply[size], one);
    } else {
      // Within the request, whose length has 32 bits.
      size += put(&reply[size], StatusDescriptor{static_cast<std::uint32_t>(one.length),
                                                 static_cast<std::uint32_t>(one.flags)});
    }
  }
  reply.resize(size);
  return reply;
}

}  // namespace r3::nbd::server
