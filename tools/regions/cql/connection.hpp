// SPDX-License-Identifier: Apache-2.0
// One connection to a Cassandra or Scylla server: the newest version of the protocol that both know (5, where
// every byte is under a checksum, or 4), log in, statements prepared, requests out in a pipeline, answers in any
// order. Used by one thread at a time.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "libcommon/net/socket.hpp"
#include "libcommon/net/stream.hpp"
#include "tools/regions/cql/frame.hpp"

namespace r3 {

struct CqlLogin {
  std::string user, password;  // empty: none
};

struct CqlVersionUnknown : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class CqlConnection {
 public:
  // Connects and logs in. Throws Refused for what the server refuses, CqlVersionUnknown where it does not speak
  // `version`.
  CqlConnection(const Address& server, std::uint8_t version, const CqlLogin& login, std::chrono::milliseconds timeout,
                const Stop& stop);
  CqlConnection(const CqlConnection&) = delete;

  void set_deadline(Stream::Deadline deadline) { stream_->set_deadline(deadline); }
  std::uint8_t version() const { return version_; }
  const std::string& name() const { return name_; }

  // Queues a request, which answer() is asked for by what this returns.
  std::uint16_t add(CqlOpcode opcode, const CqlBody& body);
  void send();
  // The body of the RESULT of that request; the answers of others that come before it are kept. Throws Refused,
  // or NotNow, for an ERROR.
  std::vector<std::byte> answer(std::uint16_t request);
  // The same for one.
  std::vector<std::byte> ask(CqlOpcode opcode, const CqlBody& body);

  // Prepared statements, by their text: prepared when they are first used here.
  std::uint16_t add_execute(const std::string& statement, const CqlBody& parameters);

 private:
  void start(const CqlLogin& login);
  void log_in(const CqlLogin& login);
  CqlFrame receive();
  CqlFrame exchange(CqlOpcode opcode, const CqlBody& body);
  [[noreturn]] void refuse(const CqlFrame& frame) const;

  const std::string name_;
  const std::uint8_t version_;
  Channel channel_;
  std::unique_ptr<Stream> stream_;
  bool segments_ = false;
  CqlOutbox outbox_;
  CqlInbox inbox_;
  std::vector<std::byte> buffer_;
  std::uint16_t next_ = 0;
  std::map<std::uint16_t, bool> waiting_;        // streams that have no answer yet
  std::map<std::uint16_t, CqlFrame> answers_;    // that nobody has asked for yet
  std::map<std::string, CqlPrepared> prepared_;
};

// <query_parameters> of QUERY and EXECUTE. `timestamp` in microseconds orders writes; 0: the server's clock does.
CqlBody cql_parameters(std::uint8_t version, std::uint16_t consistency, std::initializer_list<ConstBytes> values,
                       std::int64_t timestamp = 0);

}  // namespace r3
