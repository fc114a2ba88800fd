// SPDX-License-Identifier: Apache-2.0
// One connection to a Redis server: commands out, in a pipeline, replies in (reply.hpp). Used by one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/net/socket.hpp"
#include "libcommon/net/stream.hpp"
#include "tools/regions/redis/reply.hpp"
#include "tools/regions/tls/stream.hpp"

namespace r3 {

class RedisConnection {
 public:
  // With `tls`, the server's certificate has to be for its host.
  RedisConnection(const Address& server, const TlsContext* tls, std::chrono::milliseconds timeout, const Stop& stop);
  RedisConnection(const RedisConnection&) = delete;

  // Each waits at most until then for the server, and fails with ETIMEDOUT.
  void set_deadline(Stream::Deadline deadline);

  // Queues a command; its words stay valid until send().
  void append(std::span<const ConstBytes> words);
  void append(std::initializer_list<ConstBytes> words) { append(std::span(words.begin(), words.size())); }
  void send();
  // The next reply. A bulk string is written to `into` as far as it fits, and its size told; without `into` it
  // is in `text`. Throws ProtocolError for what is no reply.
  RedisReply receive(Bytes into = {});

  // append, send, receive.
  RedisReply ask(std::initializer_list<ConstBytes> words);

 private:
  const Stop& stop_;
  Channel channel_;
  std::unique_ptr<Stream> stream_;
  RedisInbox inbox_;
  std::string heads_;                    // of queued words: lengths and short words
  struct Piece { std::size_t head_end; ConstBytes body; };
  std::vector<Piece> queued_;
};

inline ConstBytes word(std::string_view text) { return as_bytes(text); }

}  // namespace r3
