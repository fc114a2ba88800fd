// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_client.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_keeper.hpp"
#include "libcommon/net/r3_session.hpp"
#include "libcommon/net/r3_slot.hpp"

namespace r3 {

using namespace wire;

namespace {

constexpr std::size_t kAhead = 4;         // requests in flight for one long read
constexpr std::size_t kWritesAhead = 32;  // and for one long write, whose requests are
constexpr std::uint32_t kWritePiece = 128 * KiB;  // bytes each: 1 ms of a 1 Gbit/s link
constexpr std::uint64_t kMostChanged = 1 * GiB;  // with one ZERO or DISCARD

Header request_of(Type type, std::uint64_t offset, std::uint64_t length, std::uint8_t flags = 0) {
  Header request;
  request.type = static_cast<std::uint8_t>(type);
  request.flags = flags;
  request.offset = offset;
  request.length = static_cast<std::uint32_t>(length);
  if (type == Type::extents) request.aux = static_cast<std::uint32_t>(length >> 32);
  return request;
}

// No other change to the range is in flight as long as it lives.
class Changing {
 public:
  Changing(R3Session& session, std::uint64_t offset, std::uint64_t length)
      : session_(session), offset_(offset), length_(length) {
    session.begin_change(offset, length);
  }
  ~Changing() { session_.end_change(offset_, length_); }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;

 private:
  R3Session& session_;
  const std::uint64_t offset_, length_;
};

// Cuts a range at the multiples of `part` and keeps up to `ahead` of the requests in flight. All that were
// started are finished, whatever happens; the first error is thrown.
template <class Start, class Finish>
void in_parts(std::uint64_t offset, std::uint64_t length, std::uint64_t part, std::size_t ahead,
              Start start, Finish finish) {
  std::deque<R3Call> calls;
  std::exception_ptr error;
  const auto finish_first = [&] {
    try {
      finish(calls.front());
    } catch (...) {
      if (!error) error = std::current_exception();
    }
    calls.pop_front();
  };
  for (std::uint64_t at = 0; at < length && !error;) {
    const auto bytes = std::min(length - at, part - (offset + at) % part);
    try {
      start(calls.emplace_back(), at, bytes);
    } catch (...) {
      calls.pop_back();
      error = std::current_exception();
      break;
    }
    at += bytes;
    if (calls.size() == ahead) finish_first();
  }
  while (!calls.empty()) finish_first();
  if (error) std::rethrow_exception(error);
}

}  // namespace

R3Client::R3Client(R3Dial dial, const R3ClientOptions& options)
    : session_(std::make_unique<R3Session>(std::move(dial), options)) {
  for (std::uint32_t i = 0; i < std::max(1u, options.connections); ++i)
    slots_.push_back(std::make_unique<R3Slot>(*session_, i));
  slots_.front()->connect_first();
  keeper_ = std::make_unique<R3Keeper>(*session_, slots_);
}

R3Client::~R3Client() = default;

std::uint64_t R3Client::size() const { return session_->welcome().size; }
std::uint64_t R3Client::block_size() const { return session_->welcome().block_size; }

std::uint64_t R3Client::instance() const { return session_->welcome().instance; }

bool R3Client::is_fenced() const {
  return session_->options().only_writer && session_->welcome().token != 0;
}

std::chrono::nanoseconds R3Client::round_trip() const { return session_->round_trip(); }

bool R3Client::read_only() const {
  return session_->options().read_only || (session_->welcome().flags & kWelcomeReadOnly) != 0;
}

// The least loaded connection; they take turns.
R3Slot& R3Client::pick() {
  if (slots_.size() == 1) return *slots_.front();
  const auto first = turn_.fetch_add(1, std::memory_order_relaxed);
  R3Slot* best = slots_[first % slots_.size()].get();
  for (std::size_t i = 1; i < slots_.size(); ++i) {
    R3Slot* other = slots_[(first + i) % slots_.size()].get();
    if (other->load() < best->load()) best = other;
  }
  return *best;
}

void R3Client::start_read(R3Call& call, Bytes into, std::uint64_t offset, bool background,
                          bool more) {
  call.request = request_of(Type::read, offset, into.size(), background ? kBackground : 0);
  call.into = into;
  pick().start(call, more);
}

void R3Client::wait(R3Call& call) { call.slot->wait(call); }

void R3Client::read_at(Bytes into, std::uint64_t offset) { transfer(into, offset, false); }

void R3Client::read_background(Bytes into, std::uint64_t offset) { transfer(into, offset, true); }

void R3Client::transfer(Bytes into, std::uint64_t offset, bool background) {
  check_read_range(size(), offset, into.size());
  const auto most = session_->welcome().max_transfer;
  if (into.size() <= most) {
    if (into.empty()) return;
    R3Call call;
    start_read(call, into, offset, background, false);
    return wait(call);
  }
  in_parts(offset, into.size(), most, kAhead,
           [&](R3Call& call, std::uint64_t at, std::uint64_t length) {
             start_read(call, into.subspan(at, length), offset + at, background, false);
           },
           [&](R3Call& call) { wait(call); });
}

// A change is sent until the server that answered it is the one whose answers count.
void R3Client::finish_change(R3Call& call) {
  bool full = false;
  wait(call);
  while (!session_->keep(call.request, call.payload, call.verifier, full)) {
    pick().start(call, false);
    wait(call);
  }
  if (full) flush();
}

void R3Client::change(R3Call& call) {
  const Changing changing(*session_, call.request.offset, call.request.length);
  pick().start(call, false);
  finish_change(call);
}

void R3Client::start_write(R3Call& call, ConstBytes from, std::uint64_t offset) {
  call.payload = from;
  call.request = request_of(Type::write, offset, from.size());
  pick().start(call, false);
}

// In pieces as well: requests of others get in between, and a connection that is lost again and again has
// not to live longer than one piece takes. Never less than a block, which the server would read first.
void R3Client::write_at(ConstBytes from, std::uint64_t offset) {
  if (read_only()) fail(EPERM, "read-only export");
  check_write_range(size(), offset, from.size());
  if (from.empty()) return;
  const auto& limits = session_->welcome();
  const auto most = std::min(limits.max_transfer, std::max(kWritePiece, limits.block_size));
  const Changing changing(*session_, offset, from.size());
  if (from.size() <= most) {
    R3Call call;
    start_write(call, from, offset);
    return finish_change(call);
  }
  in_parts(offset, from.size(), most, kWritesAhead,
           [&](R3Call& call, std::uint64_t at, std::uint64_t length) {
             start_write(call, from.subspan(at, length), offset + at);
           },
           [&](R3Call& call) { finish_change(call); });
}

bool R3Client::server_has(std::uint32_t feature) const {
  return (session_->welcome().features & feature) != 0;
}

void R3Client::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  if (read_only()) fail(EPERM, "read-only export");
  check_write_range(size(), offset, length);
  if (!server_has(kFeatureZero)) return Backend::zero_at(offset, length, how);
  const auto flags = static_cast<std::uint8_t>((how.keep_allocated ? kKeep : 0) |
                                               (how.only_if_fast ? kFast : 0));
  while (length > 0) {
    const auto part = std::min(length, kMostChanged);
    R3Call call;
    call.request = request_of(Type::zero, offset, part, flags);
    change(call);
    offset += part;
    length -= part;
  }
}

void R3Client::discard_at(std::uint64_t offset, std::uint64_t length) {
  if (read_only()) fail(EPERM, "read-only export");
  check_read_range(size(), offset, length);
  if (!server_has(kFeatureDiscard)) return;
  while (length > 0) {
    const auto part = std::min(length, kMostChanged);
    R3Call call;
    call.request = request_of(Type::discard, offset, part);
    change(call);
    offset += part;
    length -= part;
  }
}

void R3Client::flush() {
  if (read_only()) return;
  for (;;) {
    const auto point = session_->flush_point();
    if (!point) return;  // nothing to make durable: not worth an answer, nor waiting for a lost server
    R3Call call;
    call.request = request_of(Type::flush, 0, 0);
    pick().start(call, false);
    wait(call);
    if (session_->flushed(*point, call.verifier)) return;
  }
}

std::vector<Extent> R3Client::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  check_read_range(size(), offset, length);
  if (!server_has(kFeatureExtents)) return Backend::extents(offset, length, most);
  std::vector<Extent> found;
  const auto end = offset + length;
  while (offset < end && found.size() <= most) {
    R3Call call;
    call.request = request_of(Type::extents, offset, end - offset);
    pick().start(call, false);
    wait(call);
    if (call.answer.empty() || call.answer.size() % 16 != 0) throw ProtocolError("extents cut off");
    for (const std::byte* at = call.answer.data(); at < call.answer.data() + call.answer.size(); at += 16) {
      const auto size = load_le<std::uint64_t>(at);
      const auto kind = load_le<std::uint32_t>(at + 8);
      if (size == 0 || size > end - offset) throw ProtocolError("extents outside of the question");
      append_extent(found, {offset, size, (kind & 1) != 0, (kind & 2) != 0});
      offset += size;
    }
  }
  if (found.size() > most) found.resize(most);
  return found;
}

std::vector<std::array<std::byte, 16>> R3Client::hash(std::uint64_t offset, std::uint64_t length,
                                                      std::uint32_t chunk) {
  check_read_range(size(), offset, length);
  if (!server_has(kFeatureHash)) fail(EOPNOTSUPP, "the server cannot hash");
  std::vector<std::array<std::byte, 16>> hashes;
  const auto most = std::min<std::uint64_t>(std::uint64_t{chunk} * kMaxHashes, kMaxHashRange);
  while (length > 0) {
    const auto part = std::min(length, round_down(most, chunk));
    R3Call call;
    call.request = request_of(Type::hash, offset, part, kBackground);
    call.request.aux = chunk;
    pick().start(call, false);
    wait(call);
    if (call.answer.size() != (part + chunk - 1) / chunk * 16) throw ProtocolError("hashes cut off");
    for (std::size_t at = 0; at < call.answer.size(); at += 16)
      std::memcpy(hashes.emplace_back().data(), call.answer.data() + at, 16);
    offset += part;
    length -= part;
  }
  return hashes;
}

void R3Client::abandon() noexcept {
  session_->stop().request();
  for (const auto& slot : slots_) slot->abandon();
}

}  // namespace r3
