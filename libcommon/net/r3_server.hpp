// SPDX-License-Identifier: Apache-2.0
// The server's side of r3/1 (r3-protocol(7)) for any Backend: HELLO, then requests until the client leaves.
// Knows exports and sessions; not who may connect, nor how a connection came about.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/r3_fence.hpp"
#include "libcommon/net/r3_link.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class R3Migration;

struct R3Export {
  std::string name;            // "" is the default export
  Backend* backend = nullptr;  // borrowed
  bool read_only = false;
  bool volatile_content = false;  // lost when the server ends: clients are told, and never mix old and new
  std::uint64_t instance = 0;     // of content that outlives the server, if something tells one from another
  R3Migration* migration = nullptr;  // borrowed: it can be moved, by clients that may write
};

struct R3ServerOptions {
  std::uint32_t max_transfer = 1 * MiB;  // of one READ or WRITE
  std::uint32_t max_requests = 1024;     // in flight on a connection
  std::uint32_t max_bytes = 16 * MiB;    // in flight on a connection; at least max_transfer
  unsigned workers = 16;                 // threads a connection may have waiting in a backend
  std::chrono::milliseconds hello_timeout{10'000};
};

// Who is at the other end, and what it may do.
struct R3Peer {
  std::string name;        // of its key; empty: anybody
  bool read_only = false;
  // Whether it may use the export, and whether it may change it. None: all of them.
  std::function<bool(const std::string& export_name, bool& writable)> may_use;
};

struct R3Counters {
  std::atomic<std::uint64_t> connections{0}, connected{0}, requests{0}, bytes_read{0}, bytes_written{0};
};

// HELLO was answered with an error: what the client wants is not here, or not for it.
class R3Refusal : public ProtocolError {
 public:
  using ProtocolError::ProtocolError;
};

class R3Server {
 public:
  R3Server(std::vector<R3Export> exports, R3ServerOptions options);

  // Serves one connection, which starts with the HELLO, until the client leaves or the stop is requested:
  // what has been received is then finished and answered. Throws R3Refusal; ProtocolError when the client sent
  // nonsense, std::system_error when the connection broke. Any number of threads may be in here at once.
  // `sums`: plain mode.
  void serve(Link& link, bool sums, const R3Peer& peer, const Stop& stop);

  // Random, another one each start: how a client sees that it talks to a new server.
  std::uint64_t verifier() const { return verifier_; }
  const R3Counters& counters() const { return counters_; }
  const R3ServerOptions& options() const { return options_; }

 private:
  friend class R3Connection;
  using SlotName = std::pair<std::string, std::uint32_t>;  // peer and session, slot
  struct Seat {
    std::uint32_t generation;
    Link* link;
  };

  const R3Export* find(const std::string& name) const;
  R3Fence& fence_of(const R3Export& exported) { return fences_[static_cast<std::size_t>(&exported - exports_.data())]; }
  // Makes the connection the only one of its slot: an older one is cut, and everything that it still does
  // has ended on return. False if a newer one is there already, or on stop.
  bool take_seat(const SlotName& name, std::uint32_t generation, Link& link, const Stop& stop);
  void leave_seat(const SlotName& name, Link& link);

  std::vector<R3Export> exports_;
  std::deque<R3Fence> fences_;  // of each export
  R3ServerOptions options_;
  std::uint64_t verifier_;
  R3Counters counters_;
  std::mutex mutex_;
  std::condition_variable seat_left_;
  std::map<SlotName, Seat> seats_;  // guarded by mutex_
};

}  // namespace r3
