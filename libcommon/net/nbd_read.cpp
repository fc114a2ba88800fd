// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_read.hpp"

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"

namespace r3::nbd::server {

namespace {

const char* name_of(const Request& request) {
  switch (request.type) {
    case kRead: return "read";
    case kWrite: return "write";
    case kFlush: return "flush";
    case kTrim: return "trim";
    case kCache: return "cache";
    case kWriteZeroes: return "zero";
    default: return "block status";
  }
}

WireError try_reading(Session& session, const Request& request, Bytes into, std::uint64_t offset) {
  try {
    session.backend.read_at(into, offset);
    return kOk;
  } catch (...) {
    return refuse(session, request);
  }
}

// The read failed when `sent` bytes of the chunk, the head included, had been sent.
void end_with_error(Session& session, const Request& request, const Chunk& chunk, ConstBytes head,
                    std::uint64_t sent, Bytes buffer, WireError error) {
  auto& stream = session.stream;
  const auto format = session.rules.format;
  std::array<std::byte, kLongestHead> end;
  if (sent == 0 && (format == Format::simple || chunk.offset == request.offset)) {
    stream.send(ConstBytes(end).first(put_end(end.data(), format, request, error)));
    return;
  }
  if (format == Format::simple) return stream.give_up();
  if (sent > 0) {
    const auto head_sent = std::min<std::uint64_t>(sent, head.size());
    if (stream.send(head.subspan(head_sent)) != Stream::Sent::all) return;
    std::fill(buffer.begin(), buffer.end(), std::byte{0});
    for (auto left = chunk.length - (sent - head_sent); left > 0;) {
      const auto now = std::min<std::uint64_t>(left, buffer.size());
      if (stream.send(buffer.first(now)) != Stream::Sent::all) return;
      left -= now;
    }
  }
  const auto at = chunk.offset + (sent > head.size() ? sent - head.size() : 0);
  stream.send(ConstBytes(end).first(put_error_at(end.data(), format, request, error, at)));
}

}  // namespace

WireError refuse(Session& session, const Request& request) noexcept {
  const auto error = to_wire(errno_of_current_exception(), request);
  if (error == kEIo || error == kENoMem)
    session.tally.failed(name_of(request), request.offset);
  return error;
}

bool send_chunk(Session& session, const Request& request, const Chunk& chunk, std::uint64_t skip,
                Bytes buffer, std::unique_lock<std::mutex>& turn) {
  std::array<std::byte, kLongestHead> head;
  // Once a part has been sent the chunk must not be the last one, as an error chunk may have to follow.
  const bool whole = chunk.length <= buffer.size() && skip == 0;
  auto announced = chunk;
  announced.last = chunk.last && whole;
  const auto head_size = put_data_head(head.data(), session.rules.format, request, announced);
  const auto end = head_size + chunk.length;
  auto sent = skip;
  while (sent < end) {
    const auto position = std::max<std::uint64_t>(sent, head_size) - head_size;
    const auto data = buffer.first(std::min<std::uint64_t>(chunk.length - position, buffer.size()));
    const auto error = try_reading(session, request, data, chunk.offset + position);
    if (!turn.owns_lock()) turn.lock();
    if (error != kOk) {
      end_with_error(session, request, chunk, ConstBytes(head).first(head_size), sent, buffer, error);
      return false;
    }
    const auto head_left = ConstBytes(head).first(head_size).subspan(
        std::min<std::uint64_t>(sent, head_size));
    iovec parts[2] = {{const_cast<std::byte*>(head_left.data()), head_left.size()},
                      {data.data(), data.size()}};
    if (session.stream.send(parts, sent) != Stream::Sent::all) return false;
  }
  if (chunk.last && !whole && session.rules.format != Format::simple) {
    const auto size = put_end(head.data(), session.rules.format, request, kOk);
    return session.stream.send(ConstBytes(head).first(size)) == Stream::Sent::all;
  }
  return true;
}

void answer_read(Session& session, const Request& request, Bytes buffer) {
  const bool one_chunk = session.rules.format == Format::simple || request.has(kDf);
  const auto most = one_chunk ? request.length : buffer.size();
  for (std::uint64_t done = 0; done < request.length;) {
    const auto now = std::min<std::uint64_t>(request.length - done, most);
    const Chunk chunk{request.offset + done, now, done + now == request.length};
    auto turn = std::unique_lock(session.stream.sending(), std::defer_lock);
    if (!send_chunk(session, request, chunk, 0, buffer, turn)) return;
    done += now;
  }
}

}  // namespace r3::nbd::server
