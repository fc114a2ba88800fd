// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_client.hpp"

#include <algorithm>
#include <bit>
#include <deque>

#include "libcommon/base/error.hpp"
#include "libcommon/net/nbd_client_link.hpp"
#include "libcommon/storage/chunked.hpp"

namespace r3 {

namespace {

using namespace nbd;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kLogLimit = 32 * MiB;
constexpr std::uint64_t kPiece = MiB;             // of long reads and writes
constexpr std::uint64_t kRangePiece = 256 * MiB;  // of what carries no data
constexpr std::size_t kWindow = 16;               // pieces in flight of one call
constexpr unsigned kMostNonsense = 3;

// A request, and where it is.
struct Piece {
  Piece() = default;
  Piece(const Piece&) = delete;
  // The caller's bytes are in use until the answer is there.
  ~Piece() {
    if (connection && !finished) connection->wait(call, {});
  }

  Call call;
  std::shared_ptr<Session> session;
  Connection* connection = nullptr;
  unsigned nonsense = 0;  // how often the server answered with nonsense
  int error = 0;          // why it could not even be sent
  bool finished = false;
};

class NbdClient : public Backend {
 public:
  NbdClient(const Address& address, const std::string& export_name, const NbdClientOptions& options)
      : link_(address, export_name, options, log_),
        io_timeout_(options.io_timeout),
        agreement_(link_.agreement()),
        read_only_(options.read_only || has(kReadOnly)),
        keeps_log_(!read_only_ && has(kSendFlush)) {}

  std::uint64_t size() const override { return agreement_.size; }
  bool read_only() const override { return read_only_; }
  std::uint64_t block_size() const override { return std::min<std::uint64_t>(agreement_.preferred, 64 * MiB); }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length,
                              std::size_t most) override;
  void abandon() noexcept override { link_.abandon(); }

  // The server does no less at a time, and nothing that does not start at a multiple of it.
  std::uint64_t least_block() const { return agreement_.minimum; }

 private:
  struct Transfer {  // what one call of the backend is made of
    Command command;
    std::uint16_t flags = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    Bytes into = {};
    ConstBytes payload = {};
  };

  bool has(TransmissionFlag flag) const { return agreement_.flags & flag; }
  std::uint16_t flags_of_change() const { return !has(kSendFlush) && has(kSendFua) ? kFua : 0; }
  Connection::Deadline deadline() const;
  void check_change(std::uint64_t offset, std::uint64_t length) const;
  void change(const Transfer& transfer);
  void run(Transfer transfer);
  void run_in_pieces(Transfer rest);
  std::uint64_t longest(const Transfer& transfer) const;
  void cut(Transfer& rest, Piece& piece) const;
  void start(Piece& piece, std::uint64_t after, Connection::Deadline deadline);
  int finish(Piece& piece, Connection::Deadline until);
  bool is_settled(Piece& piece);
  int flush_now();
  int make_room();
  [[noreturn]] void raise(int error, const Call& call) const;

  ReplayLog log_;
  ChangeOrder order_;
  std::mutex room_mutex_;  // held by the thread that empties the log
  Link link_;
  const std::chrono::milliseconds io_timeout_;
  const Agreement agreement_;
  const bool read_only_;
  const bool keeps_log_;
};

Connection::Deadline NbdClient::deadline() const {
  if (io_timeout_.count() == 0) return {};
  return Clock::now() + io_timeout_;
}

void NbdClient::read_at(Bytes into, std::uint64_t offset) {
  check_read_range(size(), offset, into.size());
  run({.command = kRead, .offset = offset, .length = into.size(), .into = into});
}

void NbdClient::write_at(ConstBytes from, std::uint64_t offset) {
  check_change(offset, from.size());
  change({.command = kWrite, .offset = offset, .length = from.size(), .payload = from});
}

void NbdClient::flush() {
  if (read_only_ || !has(kSendFlush)) return;
  Call call;
  call.command = kFlush;
  if (const int error = flush_now()) raise(error, call);
}

int NbdClient::flush_now() {
  const auto mark = log_.mark();
  Piece piece;
  piece.call.command = kFlush;
  const auto until = deadline();
  start(piece, 0, until);
  const int error = finish(piece, until);
  if (error == 0) log_.drop(mark);
  return error;
}

void NbdClient::zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how) {
  check_change(offset, length);
  if (!has(kSendWriteZeroes) || (how.only_if_fast && !has(kSendFastZero)))
    return Backend::zero_at(offset, length, how);
  const int flags = (how.keep_allocated ? kNoHole : 0) | (how.only_if_fast ? kFastZero : 0);
  change({.command = kWriteZeroes,
          .flags = static_cast<std::uint16_t>(flags),
          .offset = offset,
          .length = length});
}

void NbdClient::discard_at(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (read_only_) fail(EPERM, link_.server());
  if (has(kSendTrim)) change({.command = kTrim, .offset = offset, .length = length});
}

void NbdClient::prefetch(std::uint64_t offset, std::uint64_t length) {
  check_read_range(size(), offset, length);
  if (has(kSendCache)) run({.command = kCache, .offset = offset, .length = length});
}

std::vector<Extent> NbdClient::extents(std::uint64_t offset, std::uint64_t length, std::size_t most) {
  if (!agreement_.allocation) return Backend::extents(offset, length, most);
  check_read_range(size(), offset, length);
  std::vector<Extent> found;
  const auto end = offset + length;
  while (offset < end && found.size() <= most) {
    Piece piece;
    piece.call.command = kBlockStatus;
    piece.call.offset = offset;
    piece.call.length = static_cast<std::uint32_t>(std::min(end - offset, kRangePiece));
    piece.call.most_extents = most;
    const auto until = deadline();
    start(piece, 0, until);
    if (const int error = finish(piece, until)) raise(error, piece.call);
    for (const Extent& next : piece.call.extents) append_extent(found, next);
    const Extent& last = piece.call.extents.back();
    offset = last.offset + last.length;
  }
  if (found.size() > most) found.resize(most);
  return found;
}

void NbdClient::check_change(std::uint64_t offset, std::uint64_t length) const {
  if (read_only_) fail(EPERM, link_.server());
  check_write_range(size(), offset, length);
}

void NbdClient::change(const Transfer& transfer) {
  if (transfer.length == 0) return;
  if (!keeps_log_) return run(transfer);
  const ChangeOrder::Turn turn(order_, transfer.offset, transfer.length);
  run(transfer);
}

void NbdClient::run(Transfer transfer) {
  if (transfer.length > longest(transfer)) return run_in_pieces(transfer);
  if (transfer.length == 0) return;
  const bool is_logged = keeps_log_ && transfer.command != kRead && transfer.command != kCache;
  Piece piece;
  cut(transfer, piece);
  if (is_logged) piece.error = make_room();
  const auto until = deadline();
  if (piece.error == 0) start(piece, 0, until);
  if (const int error = finish(piece, until)) raise(error, piece.call);
}

// Keeps a window of pieces in flight. After an error no piece is added, but all that are in flight are
// waited for: until the deadline, which each answer puts off, so that an outage is one for all of them.
void NbdClient::run_in_pieces(Transfer rest) {
  const bool is_logged = keeps_log_ && rest.command != kRead && rest.command != kCache;
  std::deque<Piece> window;
  Call failed;
  auto until = deadline();
  while (!window.empty() || (rest.length > 0 && failed.error == 0)) {
    while (rest.length > 0 && failed.error == 0 && window.size() < kWindow) {
      Piece& piece = window.emplace_back();
      cut(rest, piece);
      if (is_logged) piece.error = make_room();
      if (piece.error == 0) start(piece, 0, until);
      if (piece.error != 0) break;
    }
    const Piece& first = window.front();
    const int error = finish(window.front(), until);
    if (error != ETIMEDOUT) until = deadline();
    if (error != 0 && failed.error == 0) {
      failed.error = error;
      failed.command = first.call.command;
      failed.offset = first.call.offset;
    }
    window.pop_front();
  }
  if (failed.error != 0) raise(failed.error, failed);
}

std::uint64_t NbdClient::longest(const Transfer& transfer) const {
  if (transfer.command != kRead && transfer.command != kWrite) return kRangePiece;
  return std::max<std::uint64_t>(round_down(std::min<std::uint64_t>(kPiece, agreement_.maximum), 4096),
                                 agreement_.minimum);
}

void NbdClient::cut(Transfer& rest, Piece& piece) const {
  const auto length = std::min(rest.length, longest(rest));
  piece.call.command = rest.command;
  piece.call.flags = rest.flags;
  if (rest.command != kRead && rest.command != kCache) piece.call.flags |= flags_of_change();
  piece.call.offset = rest.offset;
  piece.call.length = static_cast<std::uint32_t>(length);
  if (rest.command == kRead) {
    piece.call.into = rest.into.first(length);
    rest.into = rest.into.subspan(length);
  } else if (rest.command == kWrite) {
    piece.call.payload = rest.payload.first(length);
    rest.payload = rest.payload.subspan(length);
  }
  rest.offset += length;
  rest.length -= length;
}

// Sends it in a session later than number `after`, waiting for one if need be.
void NbdClient::start(Piece& piece, std::uint64_t after, Connection::Deadline deadline) {
  auto found = link_.session(after, deadline);
  piece.error = found.error;
  if (found.error != 0) return;
  piece.session = std::move(found.session);
  piece.connection = &piece.session->quietest();
  piece.connection->submit(piece.call, deadline);
}

// Waits for the answer, making the request again in later sessions until it has one. An errno.
int NbdClient::finish(Piece& piece, Connection::Deadline until) {
  while (piece.error == 0) {
    piece.connection->wait(piece.call, until);
    if (is_settled(piece)) {
      piece.error = piece.call.error;
      break;
    }
    if (piece.connection->nonsense() && ++piece.nonsense >= kMostNonsense) {
      piece.error = EPROTO;
    } else {
      start(piece, piece.session->number, until);
    }
  }
  piece.finished = true;
  return piece.error;
}

// Whether the answer stands, whatever happens to the server.
bool NbdClient::is_settled(Piece& piece) {
  if (piece.call.state != Call::State::answered) return false;
  if (piece.call.error == ESHUTDOWN) {  // it is about to leave, and may come back
    piece.connection->fail("the server is shutting down");
    return false;
  }
  const auto command = piece.call.command;
  const bool is_change = command == kWrite || command == kWriteZeroes || command == kTrim;
  if (piece.call.error != 0 || !is_change || !keeps_log_) return true;
  return log_.add(piece.session->number, piece.call);
}

// Flushes when the log is half full; only when it is full, others wait for that. An errno.
int NbdClient::make_room() {
  if (log_.bytes() < kLogLimit / 2) return 0;
  std::unique_lock lock(room_mutex_, std::defer_lock);
  if (log_.bytes() >= kLogLimit) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return 0;
  }
  return log_.bytes() >= kLogLimit / 2 ? flush_now() : 0;
}

void NbdClient::raise(int error, const Call& call) const {
  constexpr const char* names[] = {"read", "write", "disconnect", "flush",
                                   "trim", "cache", "zero",       "block status"};
  std::string what = link_.server() + ": " + names[call.command];
  if (call.command != kFlush) what += " at " + std::to_string(call.offset);
  if (error != ETIMEDOUT) fail(error, what);
  fail(EIO, what + ": no answer for " + std::to_string(io_timeout_.count()) + " ms");
}

}  // namespace

std::unique_ptr<Backend> open_nbd(const Address& address, const std::string& export_name,
                                  const NbdClientOptions& options) {
  auto client = std::make_unique<NbdClient>(address, export_name, options);
  const auto least = client->least_block();
  if (least == 1) return client;
  return std::make_unique<Chunked>(std::move(client), least);
}

}  // namespace r3
