// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/link.hpp"

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "tools/mmap-hashsync/endpoint.hpp"

namespace r3::sync {

namespace {

constexpr double kWeightOfOld = 0.75;
constexpr std::chrono::seconds kTimeToGreet{10};
constexpr std::size_t kStep = 256 * KiB;  // memory is taken as bytes arrive, not as a header promises
constexpr std::chrono::seconds kTimeForLastWords{2};
constexpr std::chrono::seconds kTimeToGoOn{5};  // what was lost on the way would be waited for without an end

[[noreturn]] void lost(const char* what) {
  throw ConnectionLost(std::make_error_code(std::errc::connection_reset), what);
}

// Errors of the connection are told apart from those of files.
template <class Io>
auto over(const Io& io) {
  try {
    return io();
  } catch (const std::system_error& error) {
    throw ConnectionLost(error.code(), "connection");
  }
}

}  // namespace

void Link::send(Header header, ConstBytes payload) {
  std::array<std::byte, kHeaderSize> head;
  store_header(head.data(), header, payload);
  const ConstBytes parts[] = {head, payload};
  if (options_.bandwidth) options_.bandwidth->spend(head.size() + payload.size());
  std::lock_guard lock(sending_);
  const auto begun = std::chrono::steady_clock::now();
  try {
    over([&] { stream_.write_parts(parts); });
  } catch (const ConnectionLost&) {
    broken_ = true;
    throw;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  bytes_sent_ += head.size() + payload.size();
  if (payload.size() < 16 * KiB) return;
  const double rate = static_cast<double>(payload.size()) / std::max(took.count(), 1e-9);
  rate_ = rate_ == 0 ? rate : kWeightOfOld * rate_ + (1 - kWeightOfOld) * rate;
}

std::unique_ptr<wire::Packer> Link::take_packer() {
  std::lock_guard lock(packing_);
  if (packers_.empty()) return std::make_unique<wire::Packer>();
  auto packer = std::move(packers_.back());
  packers_.pop_back();
  return packer;
}

// Packing runs in the threads that send, at once; only writing is one at a time.
void Link::send(Batch& batch, std::uint64_t epoch) {
  const bool zeroes = batch.bytes.empty();
  auto packer = take_packer();
  double rate = options_.compress == Compress::always ? 1.0 : rate_.load();
  if (options_.bandwidth) rate = std::min(rate == 0 ? 1e12 : rate, options_.bandwidth->rate());
  const wire::Packed packed =
      zeroes ? wire::Packed{wire::kZeroes, {}}
             : packer->pack(batch.bytes, options_.compress != Compress::never, rate);
  std::vector<std::byte> payload(batch.entries.size() * kEntrySize + packed.bytes.size());
  store_entries(payload.data(), batch.entries);
  std::copy(packed.bytes.begin(), packed.bytes.end(),
            payload.begin() + static_cast<std::ptrdiff_t>(batch.entries.size() * kEntrySize));
  Header header;
  header.type = Type::data;
  header.flags = packed.flags;
  header.file = batch.file;
  header.aux = static_cast<std::uint32_t>(batch.entries.size());
  header.epoch = epoch;
  send(header, payload);
  std::lock_guard lock(packing_);
  packers_.push_back(std::move(packer));
}

void Link::forward(const Frame& frame, std::uint32_t file, std::uint64_t epoch) {
  Header header = frame.header;
  header.file = file;
  header.epoch = epoch;
  send(header, frame.payload);
}

// The rest of a frame: some of it has to come again and again.
std::size_t Link::read_within(Bytes into) {
  std::size_t done = 0;
  while (done < into.size()) {
    stream_.set_deadline(std::chrono::steady_clock::now() + kTimeToGoOn);
    const auto n = stream_.read_some(into.subspan(done));
    if (n == 0) break;
    done += n;
  }
  stream_.set_deadline({});
  return done;
}

Frame Link::receive() {
  std::array<std::byte, kHeaderSize> head;
  auto n = over([&] { return stream_.read_some(head); });
  if (n > 0) n += over([&] { return read_within(Bytes(head).subspan(n)); });
  if (n < head.size()) lost(n == 0 ? "the peer is gone" : "the connection broke off");
  Frame frame{load_header(head.data()), {}};
  const std::size_t length = frame.header.payload;
  for (std::size_t got = 0; got < length;) {
    const auto step = std::min(length - got, std::max(kStep, got));
    frame.payload.resize(got + step);
    if (over([&] { return read_within(Bytes(frame.payload).subspan(got)); }) < step)
      lost("the connection broke off");
    got += step;
  }
  check_sum(head.data(), frame.payload);
  bytes_received_ += head.size() + length;
  if (frame.header.type == Type::error) {
    const std::string text = "the peer says: " + printable(as_text(frame.payload));
    if (frame.header.aux == kMayRetry) throw ProtocolError(text);
    throw std::runtime_error(text);
  }
  return frame;
}

void Link::listen_for_last_words() {
  if (!broken_) return;
  const auto end = std::chrono::steady_clock::now() + kTimeForLastWords;
  try {
    while (std::chrono::steady_clock::now() < end) {
      stream_.set_deadline(end);
      receive();
    }
  } catch (const ConnectionLost&) {
    // It did not say why.
  }
}

Frame Link::receive(Type type) {
  Frame frame = receive();
  if (frame.header.type != type) throw ProtocolError("a message out of order");
  return frame;
}

Hello greet(Link& link, Stream& stream, const Hello& hello) {
  stream.set_deadline(std::chrono::steady_clock::now() + kTimeToGreet);
  Header header;
  header.type = Type::hello;
  link.send(header, encode(hello));
  const Hello theirs = decode_hello(link.receive(Type::hello).payload);
  stream.set_deadline({});
  return theirs;
}

}  // namespace r3::sync
