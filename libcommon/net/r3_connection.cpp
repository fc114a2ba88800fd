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

namespace {

constexpr std::uint32_t kBorrow = 16 * KiB;     // what is shorter is copied: a record more costs as much
constexpr std::size_t kOutLimit = 4 * kPiece;  // beyond, no data are added
constexpr int kDrainTimeout = 1000;            // ms for a peer to take its last answers

// What a client calls something, fit for one line of a log.
std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  return text;
}

}  // namespace

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

bool R3Connection::hello() {
  const auto deadline = std::chrono::steady_clock::now() + server_.options().hello_timeout;
  while (!reader_.payload()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) fail(ETIMEDOUT, "HELLO");
    if (!link_.holds_input() && wait_for(link_.input(), POLLIN, stop_,
                                         static_cast<int>(left.count())) == Wait::stopped)
      return false;
    const auto n = link_.read_some(reader_.space());
    if (n && *n == 0) return false;
    if (n) reader_.received(*n);
  }
  const Header request = *reader_.header();
  if (request.type != static_cast<std::uint8_t>(Type::hello))
    throw ProtocolError("the first frame is no HELLO");
  const Hello hello = decode_hello(*reader_.payload());
  reader_.pop();
  account(request, true);

  std::uint16_t error = 0;
  export_ = server_.find(hello.name);
  bool writable = true;
  if (hello.version != kVersion) error = EPROTONOSUPPORT;
  else if (!export_ || (peer_.may_use && !peer_.may_use(hello.name, writable))) error = ENOENT;
  if (error == 0) {
    seat_ = {peer_.name + '/' + std::string(as_text(hello.session)), hello.slot};
    seated_ = server_.take_seat(seat_, hello.generation, link_, stop_);
    if (!seated_) error = ESTALE;
  }
  if (error != 0) {
    append(request, error);
    write_all(link_, out_.parts(), stop_, kDrainTimeout);
    if (error == ESTALE) return false;  // one that came later has its place
    throw R3Refusal(error == ENOENT ? "export '" + printable(hello.name) + "': " +
                                          (export_ ? "not for this key" : "there is none")
                                    : "it speaks version " + std::to_string(hello.version) + " of r3");
  }
  backend_ = export_->backend;
  read_only_ = export_->read_only || peer_.read_only || !writable || backend_->read_only() ||
               (hello.flags & kHelloReadOnly) != 0;
  fence_ = &server_.fence_of(*export_);
  if (!read_only_) token_ = fence_->enter(request.offset, (hello.flags & kHelloOnlyWriter) != 0);
  Welcome welcome;
  welcome.token = token_;
  welcome.flags = read_only_ ? kWelcomeReadOnly : 0;
  welcome.features = hello.features &
                     (kFeatureZstd | kFeatureHash | kFeatureExtents | kFeatureZero | kFeatureDiscard |
                      kFeatureFence);
  may_migrate_ = export_->migration && !peer_.read_only && writable;
  if (may_migrate_) welcome.features |= hello.features & kFeatureMigration;
  may_compress_ = (welcome.features & kFeatureZstd) != 0;
  welcome.verifier = server_.verifier();
  welcome.size = backend_->size();
  welcome.instance = export_->volatile_content ? (server_.verifier() | 1) : export_->instance;
  welcome.block_size = static_cast<std::uint32_t>(backend_->block_size());
  welcome.max_transfer = server_.options().max_transfer;
  welcome.max_requests = server_.options().max_requests;
  welcome.max_bytes = server_.options().max_bytes;
  const std::string text = encode(welcome);
  append(request, 0, as_bytes(text));
  bound_unsent(link_.output());
  return true;
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

void R3Connection::check_request(const Header& r) {
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
  if (change) ++server_.counters_.changes;
}

void R3Connection::dispatch(const Header& request, ConstBytes payload) {
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
      case Type::hello: throw ProtocolError("a second HELLO");
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
