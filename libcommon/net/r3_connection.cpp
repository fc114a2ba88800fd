// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_connection.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_errors.hpp"
#include "libcommon/net/r3_migration.hpp"

namespace r3 {

using namespace wire;

R3Connection::R3Connection(R3Server& server, Link& link, bool sums, const R3Peer& peer,
                           const Stop& stop)
    : server_(server),
      link_(link),
      sums_(sums),
      peer_(peer),
      stop_(stop),
      reader_(Side::server, sums, server.options().max_transfer),
      wake_(check(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")) {}

R3Connection::~R3Connection() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    urgent_.clear();
    later_.clear();
  }
  work_.notify_all();
  try {
    threads_.join();
  } catch (...) {
    // A worker reports what it meets in its job; there is nobody left to tell more.
  }
  if (seated_) server_.leave_seat(seat_, link_);
}

void R3Connection::run() {
  if (!hello()) return;
  for (;;) {
    stopping_ = stop_.requested();
    collect();
    parse();
    pump();
    send();
    if (idle() && (!reading_ || stopping_)) return link_.finish();
    receive();
  }
}

// A client that has used up its credits can still ask whether anybody is there.
bool R3Connection::within_credits() const {
  return requests_ <= server_.options().max_requests && bytes_ <= server_.options().max_bytes;
}

void R3Connection::account(const Header& request, bool in) {
  const auto type = static_cast<Type>(request.type);
  const std::uint64_t bytes = type == Type::read || type == Type::write ? request.length : 0;
  if (in) {
    ++requests_;
    bytes_ += bytes;
    ++server_.counters_.requests;
  } else {
    --requests_;
    bytes_ -= bytes;
  }
}

void R3Connection::parse() {
  while (within_credits()) {
    const auto payload = reader_.payload();
    if (!payload) return;
    const Header request = *reader_.header();
    account(request, true);
    dispatch(request, *payload);
    reader_.pop();
  }
}

void R3Connection::check_request(const Header& r) const {
  const auto type = static_cast<Type>(r.type);
  const std::uint8_t data = kZeroes | kRepeat | kZstd;
  std::uint8_t allowed = 0;
  if (type == Type::read || type == Type::hash) allowed = kBackground;
  if (type == Type::write) allowed = data;
  if (type == Type::zero) allowed = kKeep | kFast;
  if ((r.flags & ~allowed) != 0 || r.error != 0) fail(EINVAL, "flags");
  const bool transfer = type == Type::read || type == Type::write;
  if (transfer && r.length > server_.options().max_transfer) fail(EOVERFLOW, "length");
  const std::uint64_t length =
      type == Type::zero || type == Type::discard || type == Type::extents
          ? r.length | std::uint64_t{r.aux} << 32 : r.length;
  if (type == Type::write || type == Type::zero) check_write_range(backend_->size(), r.offset, length);
  else if (transfer || type == Type::discard || type == Type::extents || type == Type::hash)
    check_read_range(backend_->size(), r.offset, length);
  const bool change = type == Type::write || type == Type::zero || type == Type::discard;
  if (read_only_ && change) fail(EPERM, "read-only");
}

void R3Connection::dispatch(const Header& request, ConstBytes payload) {
  if (request.type == static_cast<std::uint8_t>(Type::hello)) throw ProtocolError("a second HELLO");
  try {
    check_request(request);
    switch (static_cast<Type>(request.type)) {
      case Type::read: return dispatch_read(request);
      case Type::write: return dispatch_write(request, payload);
      case Type::ping: return append(request, 0);
      case Type::status: return answer_status(request);
      case Type::zero:
      case Type::discard:
      case Type::flush:
      case Type::extents:
      case Type::hash: {
        Jobs job(1);
        job.front().request = request;
        return hand_over(job, job.begin());
      }
      case Type::track: case Type::finalize: case Type::commit: case Type::abort: case Type::close:
      case Type::dirty:
        return dispatch_migration(request, payload);
      default: return append(request, EOPNOTSUPP);
    }
  } catch (const std::system_error&) {
    append(request, wire_error(errno_of_current_exception()));
  }
}

void R3Connection::dispatch_read(const Header& request) {
  Jobs& queue = queue_of(request);
  queue.emplace_back().request = request;
  if (&queue == &short_ && out_.size() < kOutLimit) send_piece(queue);
}

void R3Connection::dispatch_write(const Header& request, ConstBytes payload) {
  const std::uint8_t form = request.flags & (kZeroes | kRepeat | kZstd);
  if (form == 0 && payload.size() != request.length) throw ProtocolError("a WRITE without its data");
  if (form != 0) {
    unpacked_.resize(request.length);
    unpacker_.unpack(form, payload, unpacked_);
    payload = unpacked_;
  }
  server_.counters_.bytes_written += request.length;
  {
    const R3Fence::Change change(*fence_, token_);
    if (backend_->try_write_at(payload, request.offset)) return append(request, 0);
  }
  Jobs job(1);
  job.front().request = request;
  job.front().data.assign(payload.begin(), payload.end());
  hand_over(job, job.begin());
}

void R3Connection::dispatch_migration(const Header& request, ConstBytes payload) {
  if (!export_->migration) fail(EOPNOTSUPP, "migration");
  if (!may_migrate_) fail(EPERM, "migration");
  Jobs job(1);
  job.front().request = request;
  job.front().data.assign(payload.begin(), payload.end());
  hand_over(job, job.begin());
}

void R3Connection::answer_status(const Header& request) {
  const R3Counters& c = server_.counters();
  const std::uint64_t values[] = {c.connections, c.connected, c.requests, c.bytes_read, c.bytes_written};
  std::array<std::byte, sizeof values> payload;
  for (std::size_t i = 0; i < std::size(values); ++i) store_le(payload.data() + 8 * i, values[i]);
  append(request, 0, payload);
}

void R3Connection::append(const Header& request, std::uint16_t error, ConstBytes payload,
                          std::uint32_t aux) {
  Header reply;
  reply.type = request.type | kReply;
  reply.id = request.id;
  reply.error = error;
  reply.length = request.length;
  reply.aux = aux;
  // WRITE, ZERO, DISCARD and FLUSH say which server did it.
  reply.offset = request.type == static_cast<std::uint8_t>(Type::read) ||
                         request.type == static_cast<std::uint8_t>(Type::extents) ||
                         request.type == static_cast<std::uint8_t>(Type::hash)
                     ? request.offset : server_.verifier();
  reply.payload = static_cast<std::uint32_t>(payload.size());
  std::byte* frame = out_.reserve(kMaxPrelude + payload.size());
  const auto prelude = store_prelude(frame, reply, payload, sums_, sequence_++);
  if (!payload.empty()) std::memcpy(frame + prelude, payload.data(), payload.size());
  out_.add(prelude + payload.size());
  account(request, false);
}

void R3Connection::send() {
  while (out_.size() > 0) {
    const auto n = link_.write_some(out_.parts());
    rate_.tried(n, n < out_.size());
    if (n == 0) return;
    out_.sent(n);
    pump();
  }
  link_.push();
}

bool R3Connection::idle() const {
  return out_.size() == 0 && link_.push() && short_.empty() && long_.empty() && background_.empty() &&
         with_workers_ == 0;
}

void R3Connection::receive() {
  const bool wants_input = reading_ && !stopping_ && within_credits();
  if (wants_input) {
    if (const auto n = link_.read_some(reader_.space())) {
      if (*n == 0) {
        reading_ = false;
        if (reader_.partial()) throw ProtocolError("the stream ends inside a frame");
      } else {
        reader_.received(*n);
      }
      return;
    }
  }
  wait();
}

void R3Connection::wait() {
  pollfd watched[4] = {};
  watched[0] = {stopping_ ? -1 : stop_.fd(), POLLIN, 0};
  watched[1] = {wake_.get(), POLLIN, 0};
  const bool wants_input = reading_ && !stopping_ && within_credits();
  watched[2] = {wants_input ? link_.input() : -1, POLLIN, 0};
  const bool blocked = out_.size() > 0 || !link_.push();
  watched[3] = {blocked ? link_.output() : -1, POLLOUT, 0};
  const int timeout = blocked && (stopping_ || !reading_) ? kDrainTimeout : kForever;
  const int ready = ::poll(watched, 4, timeout);
  if (ready < 0 && errno != EINTR) fail(errno, "poll");
  if (ready == 0) fail(ETIMEDOUT, "the peer takes no answers");
  if (watched[1].revents) {
    std::uint64_t count;
    [[maybe_unused]] auto n = ::read(wake_.get(), &count, sizeof count);
  }
}

}  // namespace r3
