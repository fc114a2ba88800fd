// SPDX-License-Identifier: Apache-2.0
// The replies of a Redis server, out of the bytes that it sends. Bulk strings land where they are wanted, without a
// copy in between. What comes is foreign: there is a ProtocolError or a right value, and no more memory than some times
// the bytes that came, which are bounded. Protocol: redis.io, "Redis serialization protocol" (RESP 2); parser: hiredis'
// read.h. Knows no sockets. For one thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"

struct redisReader;

namespace r3 {

struct RedisReply {
  enum class Kind { status, error, number, text, nothing };
  Kind kind = Kind::nothing;
  std::string text;         // of a status, an error or a short bulk string
  long long number = 0;
  std::size_t size = 0;     // of a bulk string
  std::vector<RedisReply> parts = {};  // of an array, which has kind text
};

class RedisInbox {
 public:
  RedisInbox();
  ~RedisInbox();
  RedisInbox(const RedisInbox&) = delete;

  // Where the next bytes from the server go, once next() has nothing more to give; and that so many went there.
  Bytes room();
  void took(std::size_t bytes);
  // The next reply that is complete. A bulk string is written to `into` as far as it fits, and its size told; without
  // `into` it is in `text`. It is the same `into` until there is a reply.
  std::optional<RedisReply> next(Bytes into);

  // What hiredis' functions are told.
  struct Wanted {
    Bytes into;             // where the next bulk string belongs
    std::size_t parts = 0;  // that were made of the arrays of this reply
  };

 private:
  bool begin_bulk();
  std::optional<RedisReply> end_bulk();
  std::optional<RedisReply> parse();
  Bytes straight() const;

  redisReader* const reader_;
  Wanted wanted_;
  std::vector<std::byte> buffer_;
  std::size_t at_ = 0, end_ = 0;  // of what is in it and was not looked at
  std::size_t fed_ = 0;           // to the reader since the last reply
  bool parsing_ = false;          // the reader has a part of a reply
  // A bulk string that goes straight to where it is wanted, without the reader.
  std::optional<std::size_t> bulk_;  // its size
  std::size_t bulk_got_ = 0;         // with the line's end behind it
};

}  // namespace r3
