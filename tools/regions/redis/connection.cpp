// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/redis/connection.hpp"

#include <hiredis/read.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::size_t kReadPiece = 64 * KiB;
constexpr std::size_t kInline = 256;  // shorter words are copied among the heads

// What hiredis builds replies with. The reader's private data is where the next bulk string belongs.
RedisReply* place_of(const redisReadTask* task) {
  auto* reply = new RedisReply;
  if (task->parent) {
    auto* parent = static_cast<RedisReply*>(task->parent->obj);
    parent->parts[static_cast<std::size_t>(task->idx)] = std::move(*reply);
    delete reply;
    reply = &parent->parts[static_cast<std::size_t>(task->idx)];
  }
  return reply;
}

void* make_text(const redisReadTask* task, char* text, std::size_t size) {
  RedisReply* reply = place_of(task);
  reply->kind = task->type == REDIS_REPLY_ERROR    ? RedisReply::Kind::error
                : task->type == REDIS_REPLY_STATUS ? RedisReply::Kind::status
                                                   : RedisReply::Kind::text;
  reply->size = size;
  auto* into = static_cast<Bytes*>(task->privdata);
  if (into && reply->kind == RedisReply::Kind::text && !into->empty() && !task->parent)
    std::memcpy(into->data(), text, std::min(size, into->size()));
  else
    reply->text.assign(text, size);
  return reply;
}

void* make_array(const redisReadTask* task, int elements) {
  RedisReply* reply = place_of(task);
  reply->kind = RedisReply::Kind::text;
  reply->parts.resize(static_cast<std::size_t>(std::max(elements, 0)));
  return reply;
}

void* make_number(const redisReadTask* task, long long number) {
  RedisReply* reply = place_of(task);
  reply->kind = RedisReply::Kind::number;
  reply->number = number;
  return reply;
}

void* make_nothing(const redisReadTask* task) { return place_of(task); }

void drop(void* reply) { delete static_cast<RedisReply*>(reply); }

redisReplyObjectFunctions functions() {
  redisReplyObjectFunctions made{};
  made.createString = make_text;
  made.createArray = make_array;
  made.createInteger = make_number;
  made.createNil = make_nothing;
  made.freeObject = drop;
  return made;
}

redisReplyObjectFunctions kFunctions = functions();

}  // namespace

namespace {

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
      stream_(stream_over(channel_, server, tls, timeout, stop)),
      reader_(::redisReaderCreateWithFunctions(&kFunctions)),
      buffer_(kReadPiece) {
  if (!reader_) throw std::bad_alloc();
}

RedisConnection::~RedisConnection() { ::redisReaderFree(reader_); }

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
  reader_->privdata = &into;
  for (;;) {
    void* got = nullptr;
    if (::redisReaderGetReply(reader_, &got) != REDIS_OK)
      throw ProtocolError("the Redis server answers nonsense: " + std::string(reader_->errstr));
    if (got) {
      const std::unique_ptr<RedisReply> reply(static_cast<RedisReply*>(got));
      return std::move(*reply);
    }
    const auto n = stream_->read_some(buffer_);
    if (n == 0) fail(ECONNRESET, "the Redis server closed the connection");
    if (::redisReaderFeed(reader_, reinterpret_cast<const char*>(buffer_.data()), n) != REDIS_OK)
      throw ProtocolError("the Redis server answers nonsense: " + std::string(reader_->errstr));
  }
}

RedisReply RedisConnection::ask(std::initializer_list<ConstBytes> words) {
  append(words);
  send();
  return receive();
}

}  // namespace r3
