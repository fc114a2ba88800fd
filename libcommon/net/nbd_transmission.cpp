// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_transmission.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "libcommon/base/error.hpp"

namespace r3::nbd::server {

namespace {

// Shorter reads are not worth the question where the holes are.
constexpr std::uint64_t kSparseRead = 64 * KiB;
constexpr std::size_t kSparseChunks = 16;
constexpr std::size_t kStatusExtents = 2048;

// The one place where a request meets the backend: what is thrown becomes an error of the reply.
template <class Act>
WireError attempt(Session& session, const Request& request, Act&& act) {
  try {
    act();
    return kOk;
  } catch (...) {
    return refuse(session, request);
  }
}

void act_on(Backend& backend, const Request& request) {
  const auto offset = request.offset;
  const auto length = request.length;
  switch (request.type) {
    case kFlush: return backend.flush();
    case kTrim: backend.discard_at(offset, length); break;
    case kCache: return backend.prefetch(offset, length);
    case kWriteZeroes:
      backend.zero_at(offset, length, {request.has(kNoHole), request.has(kFastZero)});
      break;
    default: break;
  }
  if (request.has(kFua) && request.type != kRead) backend.flush();
}

void write_payload(Backend& backend, const Request& request, const Payload& payload) {
  payload.for_each_slice([&](ConstBytes bytes, std::uint64_t position) {
    backend.write_at(bytes, request.offset + position);
  });
  if (request.has(kFua)) backend.flush();
}

std::vector<Extent> find_extents(Backend& backend, const Request& request) {
  return backend.extents(request.offset, request.length,
                         request.has(kReqOne) ? 1 : kStatusExtents);
}

}  // namespace

Transmission::Transmission(Stream& stream, Backend& backend, const Rules& rules, unsigned workers,
                           Tally& tally, Spool& spool)
    : session_{stream, backend, rules, tally},
      backend_(backend),
      never_waits_(backend.never_waits()),
      tally_(tally),
      spool_(spool),
      batch_(session_),
      workers_(workers) {}

void Transmission::run() {
  try {
    serve();
  } catch (const ProtocolError&) {
    batch_.flush();
    workers_.finish();
    throw;
  }
  batch_.flush();
  workers_.finish();
  session_.stream.finish();
}

void Transmission::serve() {
  const auto least = request_size(session_.rules.format);
  while (answer_waiting()) {
    batch_.flush();
    publish();
    const auto got = session_.stream.receive(inbox_.room(Inbox::kReceive, least), [&] {
      inbox_.release();
      batch_.release();
    });
    if (got == 0) return;
    inbox_.added(got);
  }
  publish();
}

// Answers what has been received as a whole; false when nothing more is to be answered.
bool Transmission::answer_waiting() {
  const auto format = session_.rules.format;
  while (const auto request = parse_request(inbox_.bytes(), format)) {
    if (request->type == kDisconnect) return false;
    const auto error = judge(*request, session_.rules);
    const auto payload = payload_size(*request, format);
    count(*request);
    if (payload > 0) {
      if (!take_write(*request, error, payload)) return false;
      continue;
    }
    inbox_.use(request_size(format));
    if (error == kOk)
      answer(*request);
    else
      batch_.add_end(*request, error);
  }
  return true;
}

bool Transmission::take_write(const Request& request, WireError error, std::uint64_t payload) {
  const auto head = request_size(session_.rules.format);
  if (payload > UINT32_MAX) throw ProtocolError("a payload of more than 4 GiB");
  if (error == kOk && payload <= kLongestInMemory) {
    if (!receive_whole(head + payload)) return false;
    write(request, inbox_.bytes().subspan(head, payload));
    inbox_.use(head + payload);
    return true;
  }
  inbox_.use(head);
  if (error == kOk) return stage(request);
  if (!drop(payload)) return false;
  batch_.add_end(request, error);
  return true;
}

bool Transmission::receive_whole(std::size_t size) {
  while (inbox_.bytes().size() < size) {
    batch_.flush();
    // Behind a long payload nothing but the next head is taken, so that little has to be moved.
    const auto rest = size - inbox_.bytes().size();
    const auto wanted = size > Inbox::kReceive ? rest + sizeof(ExtendedRequest) : Inbox::kReceive;
    const auto got = session_.stream.receive(inbox_.room(wanted, size), [] {});
    if (got == 0) return false;
    inbox_.added(got);
  }
  return true;
}

bool Transmission::drop(std::uint64_t size) {
  for (;;) {
    const auto here = std::min<std::uint64_t>(size, inbox_.bytes().size());
    inbox_.use(here);
    size -= here;
    if (size == 0) return true;
    batch_.flush();
    const auto got = session_.stream.receive(inbox_.room(Inbox::kReceive, 0), [] {});
    if (got == 0) return false;
    inbox_.added(got);
  }
}

// A long write on its way to the backend, and the room that it takes there.
struct Transmission::Staged {
  Staged(Spool& spool, Stream& stream) : place(spool, [&stream] { stream.cut(); }), payload(Payload::in_file()) {}

  void append(ConstBytes bytes, const Stop& stop) {
    place.grow(bytes.size(), stop);
    payload.append(bytes);
  }

  Spool::Place place;
  Payload payload;
};

bool Transmission::stage(const Request& request) {
  std::shared_ptr<Staged> staged;
  auto& stream = session_.stream;
  auto error = attempt(session_, request, [&] { staged = std::make_shared<Staged>(spool_, stream); });
  for (auto left = request.length; left > 0;) {
    const auto here = inbox_.bytes().first(std::min<std::uint64_t>(left, inbox_.bytes().size()));
    if (error == kOk) error = attempt(session_, request, [&] { staged->append(here, stream.stop()); });
    if (error != kOk) staged.reset();  // it takes no room while the rest is thrown away
    left -= here.size();
    inbox_.use(here.size());
    if (left == 0) break;
    batch_.flush();
    const auto got = stream.receive(inbox_.room(Inbox::kReceive, 0), [] {});
    if (got == 0) return false;
    inbox_.added(got);
  }
  if (error != kOk) {
    batch_.add_end(request, error);
    return true;
  }
  staged->place.complete();
  if (never_waits_) {
    batch_.add_end(request, attempt(session_, request, [&] { write_payload(backend_, request, staged->payload); }));
    return true;
  }
  hand_over(staged->payload.memory_size(), [this, request, staged] {
    send_end(request, attempt(session_, request, [&] { write_payload(backend_, request, staged->payload); }));
  });
  return true;
}

void Transmission::write(const Request& request, ConstBytes payload) {
  bool written = false;
  const bool at_once = never_waits_ || !request.has(kFua);
  const auto error = attempt(session_, request, [&] {
    written = at_once && backend_.try_write_at(payload, request.offset);
    if (written && request.has(kFua)) backend_.flush();
  });
  if (written || error != kOk) return batch_.add_end(request, error);
  auto copy = std::make_shared<Payload>(Payload::in_memory(payload));
  hand_over(copy->memory_size(), [this, request, copy] {
    send_end(request, attempt(session_, request, [&] { write_payload(backend_, request, *copy); }));
  });
}

void Transmission::answer(const Request& request) {
  if (request.type == kBlockStatus) return status(request);
  if (request.type == kRead && request.length > 0) return read(request);
  const bool nothing_to_do = request.type == kRead;
  if (never_waits_ || nothing_to_do)
    return batch_.add_end(request, attempt(session_, request, [&] { act_on(backend_, request); }));
  hand_over(0, [this, request] {
    send_end(request, attempt(session_, request, [&] { act_on(backend_, request); }));
  });
}

void Transmission::read(const Request& request) {
  const Chunk whole{request.offset, request.length, true};
  bool done = true;
  const auto error = attempt(session_, request, [&] {
    if (const auto data = backend_.borrow(request.offset, request.length); !data.empty())
      return add_borrowed(request, data);
    if (request.length > Batch::kScratch) {
      done = false;
      return;
    }
    const auto room = batch_.scratch(request.length);
    done = backend_.try_read_at(room, request.offset);
    if (done) batch_.add_data(request, whole, room, false);
  });
  if (error != kOk) return batch_.add_end(request, error);
  if (done) return;
  if (never_waits_) {
    batch_.flush();
    return answer_read(session_, request, batch_.scratch(Batch::kScratch));
  }
  const auto held = std::min(request.length, kReadSlice);
  hand_over(held, [this, request, held] {
    std::unique_ptr<std::byte[]> buffer;
    const auto failed =
        attempt(session_, request, [&] { buffer = std::make_unique_for_overwrite<std::byte[]>(held); });
    if (failed != kOk) return send_end(request, failed);
    answer_read(session_, request, Bytes(buffer.get(), held));
  });
}

void Transmission::add_borrowed(const Request& request, ConstBytes data) {
  std::vector<Extent> extents;
  const bool chunks_allowed = session_.rules.format != Format::simple && !request.has(kDf);
  if (chunks_allowed && request.length >= kSparseRead)
    extents = backend_.extents(request.offset, request.length, kSparseChunks);
  // Extents that do not cover the read: too many pieces to be worth it.
  const bool covered = !extents.empty() && extents.back().offset + extents.back().length ==
                                               request.offset + request.length;
  if (!covered) extents = {{request.offset, request.length, false, false}};
  batch_.reserve(extents.size() + 1);
  for (const auto& extent : extents) {
    const Chunk chunk{extent.offset, extent.length, &extent == &extents.back()};
    if (extent.zero)
      batch_.add_hole(request, chunk);
    else
      batch_.add_data(request, chunk, data.subspan(extent.offset - request.offset, extent.length),
                      !never_waits_);
  }
}

void Transmission::status(const Request& request) {
  const auto& rules = session_.rules;
  if (!never_waits_) {
    return hand_over(0, [this, request] {
      std::vector<std::byte> reply;
      const auto error = attempt(session_, request, [&] {
        reply = status_reply(session_.rules.format, request, find_extents(backend_, request),
                             session_.rules.minimum_block);
      });
      if (error != kOk) return send_end(request, error);
      std::lock_guard turn(session_.stream.sending());
      session_.stream.send(reply);
    });
  }
  const auto error = attempt(session_, request, [&] {
    batch_.add_copy(status_reply(rules.format, request, find_extents(backend_, request),
                                 rules.minimum_block));
  });
  if (error != kOk) batch_.add_end(request, error);
}

void Transmission::hand_over(std::uint64_t bytes, std::function<void()> job) {
  batch_.flush();  // handing over may wait
  workers_.hand_over(bytes, std::move(job));
}

void Transmission::send_end(const Request& request, WireError error) {
  std::array<std::byte, kLongestHead> head;
  const auto size = put_end(head.data(), session_.rules.format, request, error);
  std::lock_guard turn(session_.stream.sending());
  session_.stream.send(ConstBytes(head).first(size));
}

void Transmission::count(const Request& request) {
  ++requests_;
  if (request.type == kRead) bytes_read_ += request.length;
  if (request.type == kWrite) bytes_written_ += request.length;
}

void Transmission::publish() {
  tally_.requests.fetch_add(std::exchange(requests_, 0), std::memory_order_relaxed);
  tally_.bytes_read.fetch_add(std::exchange(bytes_read_, 0), std::memory_order_relaxed);
  tally_.bytes_written.fetch_add(std::exchange(bytes_written_, 0), std::memory_order_relaxed);
}

}  // namespace r3::nbd::server
