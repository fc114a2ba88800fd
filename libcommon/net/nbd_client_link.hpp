// SPDX-License-Identifier: Apache-2.0
// Keeps connections to one export of an NBD server. All of them make up a session; when one dies, the
// whole session ends, and the next one begins by repeating what the server may have lost. Knows nothing
// of the requests of this session: who made one makes it again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/nbd_client.hpp"
#include "libcommon/net/nbd_client_connection.hpp"
#include "libcommon/net/nbd_client_log.hpp"

namespace r3::nbd {

struct Session {
  std::uint64_t number = 0;  // from 1 on
  std::vector<std::unique_ptr<Connection>> connections;

  // The one that has the least to do.
  Connection& quietest() const;
  void fail(const std::string& text) noexcept;
};

class Link {
 public:
  // Connects, or throws. Borrows the log.
  Link(const Address& address, const std::string& export_name, const NbdClientOptions& options,
       ReplayLog& log);
  ~Link();

  const Agreement& agreement() const { return agreement_; }
  // For messages: the address and the export.
  const std::string& server() const { return server_; }

  // A session later than number `after`, waited for if need be; or none, and why (an errno): ETIMEDOUT
  // when the deadline has passed, ESHUTDOWN, EPROTO, ENOTCONN when there is no way to connect again.
  struct Found {
    std::shared_ptr<Session> session;
    int error = 0;
  };
  Found session(std::uint64_t after, Connection::Deadline deadline);

  // From now on every call in every session is lost, and there is no other session.
  void abandon() noexcept;

 private:
  std::shared_ptr<Session> dial(const Stop& stop);
  std::unique_ptr<Connection> connect(const Stop& stop);
  void check_same(const Agreement& other) const;
  using Changes = std::span<const std::shared_ptr<const Change>>;
  void repeat(Connection& connection, std::uint64_t session);
  std::size_t repeat_some(Connection& connection, Changes changes, std::string& trouble);
  void keep();
  bool watch(const Session& session);
  std::shared_ptr<Session> dial_again(bool at_once);
  std::shared_ptr<Session> try_dial(std::string& trouble);
  void publish(std::shared_ptr<Session> session);
  void stop_dialling() noexcept;
  void give_up(int error);

  const Address address_;
  const std::string export_name_;
  const NbdClientOptions options_;
  const std::string server_;
  ReplayLog& log_;
  Agreement agreement_;
  std::uint64_t dialled_ = 0;    // sessions so far; used by one thread at a time
  unsigned nonsense_ = 0;        // handshakes in a row that made no sense; likewise
  std::minstd_rand random_;

  std::mutex mutex_;
  std::shared_ptr<Session> session_;  // guarded by mutex_; none during an outage
  Connection* repeating_ = nullptr;   // guarded by mutex_; belongs to a session to come
  int gave_up_ = 0;                   // guarded by mutex_; an errno
  std::condition_variable changed_;
  TaskGroup tasks_;  // last: its thread ends first
};

}  // namespace r3::nbd
