// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/redis/reply.hpp"

#include <hiredis/read.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>
#include <utility>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::size_t kMostBytes = 34 << 20;  // the largest chunk, and what was read beyond it
constexpr std::size_t kMostParts = 1024;      // of all arrays of a reply
constexpr std::size_t kBuffer = 64 << 10;
constexpr std::size_t kLong = 32 << 10;       // bytes that are wanted: worth a call of their own
constexpr std::size_t kHead = 512, kLongestHead = 32;
constexpr std::size_t kNothing = ~std::size_t{0};

using Wanted = RedisInbox::Wanted;

[[noreturn]] void nonsense(const char* what) {
  throw ProtocolError(std::string("the Redis server answers nonsense: ") + what);
}

// Exceptions may not go through hiredis; it takes no object for a want of memory. An array grows as its parts come: its
// head promises whatever it likes. Nobody points into one while it grows, for a part is whole before the next begins.
RedisReply* place_of(const redisReadTask* task) noexcept try {
  if (!task->parent) return new RedisReply;
  if (++static_cast<Wanted*>(task->privdata)->parts > kMostParts) return nullptr;
  return &static_cast<RedisReply*>(task->parent->obj)->parts.emplace_back();
} catch (const std::bad_alloc&) {
  return nullptr;
}

void* make_text(const redisReadTask* task, char* text, std::size_t size) noexcept {
  RedisReply* reply = place_of(task);
  if (!reply) return nullptr;
  reply->kind = task->type == REDIS_REPLY_ERROR    ? RedisReply::Kind::error
                : task->type == REDIS_REPLY_STATUS ? RedisReply::Kind::status
                                                   : RedisReply::Kind::text;
  reply->size = size;
  const Bytes into = static_cast<Wanted*>(task->privdata)->into;
  if (reply->kind == RedisReply::Kind::text && !into.empty() && !task->parent)
    std::memcpy(into.data(), text, std::min(size, into.size()));
  else
    reply->text.assign(text, size);
  return reply;
}

void* make_array(const redisReadTask* task, int) noexcept {
  RedisReply* reply = place_of(task);
  if (reply) reply->kind = RedisReply::Kind::text;
  return reply;
}

void* make_number(const redisReadTask* task, long long number) noexcept {
  RedisReply* reply = place_of(task);
  if (!reply) return nullptr;
  reply->kind = RedisReply::Kind::number;
  reply->number = number;
  return reply;
}

void* make_nothing(const redisReadTask* task) noexcept { return place_of(task); }

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

RedisInbox::RedisInbox() : reader_(::redisReaderCreateWithFunctions(&kFunctions)), buffer_(kBuffer) {
  if (!reader_) throw std::bad_alloc();
  reader_->privdata = &wanted_;
}

RedisInbox::~RedisInbox() { ::redisReaderFree(reader_); }

// What is missing of the bulk string that is under way, as far as it is wanted.
Bytes RedisInbox::straight() const {
  const auto wanted = bulk_ ? std::min(*bulk_, wanted_.into.size()) : 0;
  return bulk_got_ < wanted ? wanted_.into.subspan(bulk_got_, wanted - bulk_got_) : Bytes();
}

// Before a long bulk string only its head is taken, so that the rest can go straight to its place.
Bytes RedisInbox::room() {
  if (const Bytes place = straight(); at_ == end_ && !place.empty()) return place;
  if (at_ == end_) at_ = end_ = 0;
  if (end_ == buffer_.size()) {
    std::copy(buffer_.begin() + static_cast<std::ptrdiff_t>(at_), buffer_.end(), buffer_.begin());
    end_ -= std::exchange(at_, 0);
  }
  const Bytes free = Bytes(buffer_).subspan(end_);
  return wanted_.into.size() >= kLong ? free.first(std::min(free.size(), kHead)) : free;
}

void RedisInbox::took(std::size_t bytes) {
  if (at_ == end_ && !straight().empty()) bulk_got_ += bytes;
  else end_ += bytes;
}

std::optional<RedisReply> RedisInbox::next(Bytes into) {
  wanted_.into = into;
  if (!bulk_ && (parsing_ || into.empty() || at_ == end_ || buffer_[at_] != std::byte{'$'})) return parse();
  if (!bulk_ && !begin_bulk()) return std::nullopt;
  return end_bulk();
}

// "$LENGTH\r\n"; false if it is not all there. One that is not there ("$-1") is of the size that no other has.
bool RedisInbox::begin_bulk() {
  const auto text = as_text(ConstBytes(buffer_).subspan(at_, end_ - at_));
  const auto line = text.substr(0, text.find("\r\n"));
  if (line.size() > kLongestHead) nonsense("the length of a bulk string is none");
  if (line.size() == text.size()) return false;
  long long length = 0;
  const auto parsed = std::from_chars(line.data() + 1, line.data() + line.size(), length);
  if (parsed.ec != std::errc() || parsed.ptr != line.data() + line.size() || length < -1 ||
      length > static_cast<long long>(kMostBytes))
    nonsense("the length of a bulk string is none that was asked for");
  at_ += line.size() + 2;
  bulk_ = length < 0 ? kNothing : static_cast<std::size_t>(length);
  bulk_got_ = 0;
  return true;
}

std::optional<RedisReply> RedisInbox::end_bulk() {
  const auto size = *bulk_;
  RedisReply reply;
  if (size == kNothing) return bulk_.reset(), reply;
  const auto taken = std::min(size + 2 - bulk_got_, end_ - at_);
  const ConstBytes more = ConstBytes(buffer_).subspan(at_, taken);
  const auto place = straight();
  if (!place.empty()) std::memcpy(place.data(), more.data(), std::min(more.size(), place.size()));
  for (auto i = size - std::min(size, bulk_got_); i < more.size(); ++i)
    if (more[i] != (bulk_got_ + i == size ? std::byte{'\r'} : std::byte{'\n'})) nonsense("a bulk string has no end");
  at_ += taken;
  bulk_got_ += taken;
  if (bulk_got_ < size + 2) return std::nullopt;
  bulk_.reset();
  reply.kind = RedisReply::Kind::text;
  reply.size = size;
  return reply;
}

std::optional<RedisReply> RedisInbox::parse() {
  if (at_ < end_) {
    fed_ += end_ - at_;
    if (fed_ > kMostBytes) nonsense("a reply is longer than any that was asked for");
    if (::redisReaderFeed(reader_, reinterpret_cast<const char*>(buffer_.data() + at_), end_ - at_) != REDIS_OK)
      nonsense(reader_->errstr);
    at_ = end_;
    parsing_ = true;
  }
  void* got = nullptr;
  if (::redisReaderGetReply(reader_, &got) != REDIS_OK) nonsense(reader_->errstr);
  if (!got) return std::nullopt;
  fed_ = wanted_.parts = 0;
  parsing_ = reader_->len > reader_->pos;
  const std::unique_ptr<RedisReply> reply(static_cast<RedisReply*>(got));
  return std::move(*reply);
}

}  // namespace r3
