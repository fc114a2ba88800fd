// SPDX-License-Identifier: Apache-2.0
// The part of a connection that answers READs, piece by piece, by rank.
#include <algorithm>
#include <cstring>

#include "libcommon/net/r3_connection.hpp"
#include "libcommon/net/r3_errors.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::uint32_t kBorrow = 16 * KiB;  // what is shorter is copied: a record more costs as much

}  // namespace

R3Connection::Jobs& R3Connection::queue_of(const Header& request) {
  if ((request.flags & kBackground) != 0) return background_;
  return request.length <= kPiece ? short_ : long_;
}

// What is short goes first; of the others one piece at a time, and background ones only when nothing else
// waits to be sent, so that no answer is ever behind more than one of their pieces.
void R3Connection::pump() {
  while (out_.size() < kOutLimit) {
    if (!short_.empty()) send_piece(short_);
    else if (!long_.empty()) send_piece(long_);
    else if (!background_.empty() && out_.size() < kPiece) send_piece(background_);
    else return;
  }
}

// Appends the next piece of the first job, or hands the job over. Long ones take turns; background ones
// are whole one after the other, in the order in which they were wanted.
bool R3Connection::send_piece(Jobs& queue) {
  const auto job = queue.begin();
  const auto length = std::min(job->request.length - job->done, kPiece);
  std::byte* frame = out_.reserve(kMaxPrelude + length);
  ConstBytes piece;
  try {
    piece = borrow_piece(*job, length);
    if (piece.empty()) {
      const Bytes into(frame + (sums_ ? kMaxPrelude : kHeaderSize), length);
      if (!read_piece(*job, into)) {
        hand_over(queue, job);
        return false;
      }
      piece = into;
    }
  } catch (...) {
    append(job->request, wire_error(errno_of_current_exception()));
    queue.erase(job);
    return true;
  }
  append_piece(*job, frame, piece);
  if (job->done == job->request.length) {
    account(job->request, false);
    queue.erase(job);
  } else if (&queue == &long_) {
    queue.splice(queue.end(), queue, job);
  }
  return true;
}

// Long pieces are sealed from where they are. Only memory may be touched there (backend.hpp), and only without
// checksums and compression, which would have to see the same bytes twice.
ConstBytes R3Connection::borrow_piece(const Job& job, std::uint32_t length) {
  if (sums_ || may_compress_ || length < kBorrow || job.taken != job.data.size() ||
      !backend_->never_waits())
    return {};
  return backend_->borrow(job.request.offset + job.done, length);
}

bool R3Connection::read_piece(Job& job, Bytes into) {
  if (job.taken == job.data.size()) {
    job.data.clear();
    job.taken = 0;
    return backend_->try_read_at(into, job.request.offset + job.done);
  }
  const auto bytes = std::min(into.size(), job.data.size() - job.taken);
  std::memcpy(into.data(), job.data.data() + job.taken, bytes);
  job.taken += bytes;
  return true;
}

// `piece` is right behind the frame's prelude, or the backend's.
void R3Connection::append_piece(Job& job, std::byte* frame, ConstBytes piece) {
  const auto length = static_cast<std::uint32_t>(piece.size());
  const std::size_t prelude = sums_ ? kMaxPrelude : kHeaderSize;
  const bool borrowed = piece.data() != frame + prelude;
  const Packed packed = packer_.pack(piece, may_compress_, rate_.bytes_per_second());
  if (packed.flags != 0 && !packed.bytes.empty())
    std::memcpy(frame + prelude, packed.bytes.data(), packed.bytes.size());
  Header reply;
  reply.type = job.request.type | kReply;
  reply.id = job.request.id;
  reply.offset = job.request.offset + job.done;
  reply.length = length;
  reply.payload = static_cast<std::uint32_t>(packed.bytes.size());
  reply.flags = packed.flags;
  job.done += length;
  if (job.done < job.request.length) reply.flags |= kMore;
  store_prelude(frame, reply, {frame + prelude, reply.payload}, sums_, sequence_++);
  out_.add(prelude);
  if (borrowed && packed.flags == 0) out_.borrow(piece);
  else out_.add(reply.payload, !sums_ && reply.payload >= kBorrow);
  server_.counters_.bytes_read += length;
}

}  // namespace r3
