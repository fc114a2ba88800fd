// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client_replies.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/deadline.hpp"

namespace r3::nbd {

namespace {

constexpr std::size_t kBuffer = 64 * KiB;
// Larger payloads go straight to their place instead of through the buffer.
constexpr std::size_t kDirect = 16 * KiB;
constexpr std::uint32_t kMostDescriptors = 1 << 20;

// Numbers outside the protocol's list get the one that says the least.
int errno_of(std::uint32_t wire) {
  switch (wire) {
    case kEPerm:
    case kEIo:
    case kENoMem:
    case kEInval:
    case kENoSpc:
    case kEOverflow:
    case kENotSup:
    case kEShutdown:
      return static_cast<int>(wire);
    default:
      return EIO;
  }
}

}  // namespace

ReplyReader::ReplyReader(int socket, const Agreement& agreement, CallTable& calls)
    : socket_(socket), agreement_(agreement), calls_(calls), buffer_(kBuffer) {}

void ReplyReader::read_one(Deadline deadline) {
  deadline_ = deadline;
  const auto reply = read<SimpleReply>();
  if (reply.magic == kSimpleReplyMagic) return read_simple(reply.error, reply.cookie);
  if (reply.magic != kStructuredReplyMagic) throw ProtocolError("a reply starts with a wrong magic");
  if (!agreement_.structured) throw ProtocolError("a structured reply was never agreed on");
  // A chunk starts as a simple reply does, and is longer.
  const std::uint32_t flags_and_type = reply.error;
  read_chunk({kStructuredReplyMagic, static_cast<std::uint16_t>(flags_and_type >> 16),
              static_cast<std::uint16_t>(flags_and_type), reply.cookie, read<Be32>()});
}

bool ReplyReader::has_one() const {
  const std::size_t here = end_ - begin_;
  if (here < sizeof(SimpleReply)) return false;
  ChunkHeader header{};
  std::memcpy(&header, &buffer_[begin_], std::min(here, sizeof header));
  // Where structured replies are agreed on, a simple one carries no data.
  if (header.magic == kSimpleReplyMagic) return agreement_.structured;
  return header.magic == kStructuredReplyMagic && here >= sizeof header &&
         here - sizeof header >= header.length;
}

void ReplyReader::read_simple(std::uint32_t error, std::uint64_t cookie) {
  Call& call = calls_.find(cookie);
  if (call.has_chunks) throw ProtocolError("a structured reply ends as a simple one");
  if (agreement_.structured && call.command == kRead)
    throw ProtocolError("a simple reply to a read, though structured ones were agreed on");
  if (call.command == kBlockStatus && error == 0) throw ProtocolError("a block status without a status");
  if (error != 0) {
    call.error = errno_of(error);
  } else if (call.command == kRead) {
    read(call.into);
    call.covered.add(0, call.length);
  }
  finish(call, cookie);
}

void ReplyReader::read_chunk(const ChunkHeader& header) {
  const std::uint64_t cookie = header.cookie;
  const std::uint16_t type = header.type;
  const std::uint32_t length = header.length;
  Call& call = calls_.find(cookie);
  call.has_chunks = true;
  if (type == kChunkOffsetData) {
    take_data(call, length);
  } else if (type == kChunkOffsetHole) {
    take_hole(call, length);
  } else if (type == kChunkBlockStatus) {
    take_status(call, length);
  } else if (type >> 15) {
    take_error(call, type, length);
  } else if (type != kChunkNone) {
    throw ProtocolError("a chunk of unknown type " + std::to_string(type));
  } else if (length != 0 || !(header.flags & kChunkDone)) {
    throw ProtocolError("an empty chunk that is not the end of its reply");
  }
  if (header.flags & kChunkDone) finish(call, cookie);
}

void ReplyReader::take_data(Call& call, std::uint32_t length) {
  if (length <= sizeof(Be64)) throw ProtocolError("a chunk of data without data");
  const std::uint64_t offset = read<Be64>();
  read(place_for(call, offset, length - sizeof(Be64)));
}

void ReplyReader::take_hole(Call& call, std::uint32_t length) {
  if (length != sizeof(HoleChunk)) throw ProtocolError("a hole in a wrong length");
  const auto hole = read<HoleChunk>();
  if (hole.length == 0) throw ProtocolError("an empty hole");
  const Bytes place = place_for(call, hole.offset, hole.length);
  std::fill(place.begin(), place.end(), std::byte{0});
}

// Where that part of the answer belongs; only what was asked for, and only once.
Bytes ReplyReader::place_for(Call& call, std::uint64_t offset, std::uint64_t length) {
  if (call.command != kRead) throw ProtocolError("data that nobody asked for");
  if (offset < call.offset || offset - call.offset > call.length ||
      length > call.length - (offset - call.offset))
    throw ProtocolError("data from outside of what was asked for");
  if (!call.covered.add(offset - call.offset, length))
    throw ProtocolError("the same data twice, or in too many pieces");
  return call.into.subspan(offset - call.offset, length);
}

void ReplyReader::take_status(Call& call, std::uint32_t length) {
  const std::size_t count = (length - sizeof(Be32)) / sizeof(StatusDescriptor);
  if (call.command != kBlockStatus || !call.extents.empty())
    throw ProtocolError("a block status that nobody asked for");
  if (length < sizeof(Be32) + sizeof(StatusDescriptor) || count > kMostDescriptors ||
      length != sizeof(Be32) + count * sizeof(StatusDescriptor))
    throw ProtocolError("a block status in a wrong length");
  if (const std::uint32_t context = read<Be32>(); context != agreement_.allocation)
    throw ProtocolError("a block status of an unknown context");
  const auto end = call.offset + call.length;
  auto offset = call.offset;
  for (std::size_t i = 0; i < count; ++i) {
    const auto next = read<StatusDescriptor>();
    if (next.length == 0) throw ProtocolError("an empty extent");
    if (offset == end || call.extents.size() > call.most_extents) continue;
    // The last one may reach past what was asked for.
    const auto part = std::min<std::uint64_t>(next.length, end - offset);
    append_extent(call.extents, {offset, part, (next.flags & kStateHole) != 0,
                                 (next.flags & kStateZero) != 0});
    offset += part;
  }
}

void ReplyReader::take_error(Call& call, std::uint16_t type, std::uint32_t length) {
  const std::size_t extra = type == kChunkErrorOffset ? sizeof(Be64) : 0;
  if (length < sizeof(ErrorChunk) + extra) throw ProtocolError("an error in a wrong length");
  const auto chunk = read<ErrorChunk>();
  if (length > sizeof(ErrorChunk) + kLongestName + sizeof(Be64) ||
      chunk.message_length > length - sizeof(ErrorChunk) - extra)
    throw ProtocolError("an error in a wrong length");
  if (chunk.error == 0) throw ProtocolError("an error that is none");
  if (call.error == 0) call.error = errno_of(chunk.error);
  skip(length - sizeof(ErrorChunk));
}

void ReplyReader::finish(Call& call, std::uint64_t cookie) {
  if (call.error == 0 && call.command == kRead && !call.covered.is_whole(call.length))
    throw ProtocolError("a read was answered in part only");
  if (call.error == 0 && call.command == kBlockStatus && call.extents.empty())
    throw ProtocolError("a block status without a status");
  calls_.complete(cookie);
}

void ReplyReader::read(Bytes into) {
  while (!into.empty()) {
    if (begin_ == end_) {
      if (into.size() >= kDirect) {
        into = into.subspan(receive(into));
        continue;
      }
      begin_ = 0;
      end_ = receive(buffer_);
    }
    const auto part = std::min(into.size(), end_ - begin_);
    std::memcpy(into.data(), &buffer_[begin_], part);
    begin_ += part;
    into = into.subspan(part);
  }
}

void ReplyReader::skip(std::uint64_t length) {
  std::byte ignored[256];
  while (length > 0) {
    const auto part = std::min<std::uint64_t>(length, sizeof ignored);
    read(Bytes(ignored).first(part));
    length -= part;
  }
}

std::size_t ReplyReader::receive(Bytes into) {
  ssize_t n = -1;
  const auto came = [&] {
    n = ::recv(socket_, into.data(), into.size(), MSG_DONTWAIT);
    return n > 0;
  };
  if (spin_.before_wait(came)) return static_cast<std::size_t>(n);
  for (;;) {
    if (deadline_) {
      pollfd watched{socket_, POLLIN, 0};
      const int ready = ::poll(&watched, 1, milliseconds_until(deadline_));
      if (ready == 0 && std::chrono::steady_clock::now() >= *deadline_) fail(ETIMEDOUT, "no answer");
      if (ready < 0 && errno != EINTR) fail(errno, "poll");
      if (ready <= 0) continue;
    }
    n = ::recv(socket_, into.data(), into.size(), 0);
    if (n > 0) {
      spin_.after_wait();
      return static_cast<std::size_t>(n);
    }
    if (n == 0) fail(ECONNRESET, "the server closed the connection");
    if (errno != EINTR && errno != EAGAIN) fail(errno, "receive");
  }
}

}  // namespace r3::nbd
