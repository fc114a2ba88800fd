// SPDX-License-Identifier: Apache-2.0
// Lets clients in to an R3Server. Whoever says nothing costs a descriptor and a few bytes: one thread watches
// them all; a connection gets its own thread when its first bytes are there. Knows the policy, not the
// protocol. Whoever is refused gets no reason; the log says who it was and why.
#pragma once

#include <chrono>
#include <deque>
#include <algorithm>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/base/tasks.hpp"
#include "libcommon/net/r3_connect.hpp"

namespace r3 {

struct R3GateOptions {
  unsigned max_connections = 64;    // that have been let in
  unsigned max_handshakes = 2048;   // under way
  unsigned max_silent = 32'768;     // that have not said anything; beyond, the oldest goes
  std::chrono::milliseconds opening_time{10'000};  // for silence, and again for the handshake
  // A client came, or left (with what went wrong, if anything did). Any thread.
  std::function<void(const std::string& peer, bool connected, const std::string& error)> on_change;
};

class R3Gate {
 public:
  R3Gate(R3Server& server, std::shared_ptr<const R3Policy> policy, R3GateOptions options);

  // Accepts until the stop is requested, then lets every connection finish what it has received.
  void run(std::vector<Listener>& listeners, const Stop& stop);
  // One connection that is there already, until it ends.
  void serve_one(Channel channel, const Stop& stop);

  // From now on. Connections whose key is gone or has other rights are cut; who still may comes again.
  void set_policy(std::shared_ptr<const R3Policy> policy);
  unsigned connected() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Live {
    Link* link;
    std::optional<PublicKey> key;
    bool with_psk;
  };
  struct Silent {
    Fd fd;
    std::uint64_t serial;
  };

  void accept_one(Listener& listener, const Stop& stop);
  void drop_late();
  void let_in(int fd);
  void serve(Channel channel, const Stop& stop);
  void enter(const R3Accepted& one, std::list<Live>::iterator& place, const R3Policy& policy);
  void refused(const std::string& peer, const std::string& reason);

  R3Server& server_;
  const R3GateOptions options_;
  // The watching thread's.
  Fd epoll_;
  std::map<int, Silent> silent_;
  struct Late {
    Clock::time_point deadline;
    int fd;
    std::uint64_t serial;
  };
  std::deque<Late> late_;  // in the order of their deadlines
  std::uint64_t serial_ = 0;

  std::atomic<unsigned> handshakes_{0};
  mutable std::mutex mutex_;
  std::shared_ptr<const R3Policy> policy_;  // guarded by mutex_
  std::list<Live> live_;                    // guarded by mutex_
  Clock::time_point said_{};                // guarded by mutex_: when refusals were last counted anew
  unsigned refusals_ = 0;                   // guarded by mutex_: since then
  TaskGroup threads_;
};

}  // namespace r3
