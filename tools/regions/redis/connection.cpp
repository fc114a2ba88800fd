// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/redis/connection.hpp"

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::size_t kInline = 256;  // shorter words are copied among the heads

std::unique_ptr<Stream> stream_over(const Channel& channel, const Address& server, const TlsContext* tls,
                                    std::chrono::milliseconds timeout, const Stop& stop) {
  if (!tls) return std::make_unique<FdStream>(channel.input(), channel.output(), stop);
  auto stream = std::make_unique<TlsStream>(*tls, channel.input(), server.host, stop);
  stream->set_deadline(std::chrono::steady_clock::now() + timeout);
  stream->shake_hands();
  return stream;
}

}  // namespace

RedisConnection::RedisConnection(const Address& server, const TlsContext* tls, std::chrono::milliseconds timeout,
                                 const Stop& stop)
    : stop_(stop),
      channel_(connect_to(server, timeout, stop)),
      stream_(stream_over(channel_, server, tls, timeout, stop)) {}

void RedisConnection::set_deadline(Stream::Deadline deadline) { stream_->set_deadline(deadline); }

void RedisConnection::append(std::span<const ConstBytes> words) {
  heads_ += "*" + std::to_string(words.size()) + "\r\n";
  for (const ConstBytes one : words) {
    heads_ += "$" + std::to_string(one.size()) + "\r\n";
    if (one.size() < kInline) heads_ += as_text(one);
    else queued_.push_back({heads_.size(), one});
    heads_ += "\r\n";
  }
}

void RedisConnection::send() {
  std::vector<ConstBytes> parts;
  std::size_t at = 0;
  const ConstBytes heads = as_bytes(heads_);
  for (const Piece& piece : queued_) {
    parts.push_back(heads.subspan(at, piece.head_end - at));
    parts.push_back(piece.body);
    at = piece.head_end;
  }
  parts.push_back(heads.subspan(at));
  stream_->write_parts(parts);
  heads_.clear();
  queued_.clear();
}

RedisReply RedisConnection::receive(Bytes into) {
  for (;;) {
    if (auto reply = inbox_.next(into)) return std::move(*reply);
    const auto n = stream_->read_some(inbox_.room());
    if (n == 0) fail(ECONNRESET, "the Redis server closed the connection");
    inbox_.took(n);
  }
}

RedisReply RedisConnection::ask(std::initializer_list<ConstBytes> words) {
  append(words);
  send();
  return receive();
}

}  // namespace r3
