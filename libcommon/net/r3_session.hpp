// SPDX-License-Identifier: Apache-2.0
// What the connections of one r3/1 client have in common: who the server is, what it granted, and the writes
// that a restart of the server could lose. Part of r3_client.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_frame.hpp"
#include "libcommon/net/r3_outage.hpp"
#include "libcommon/net/r3_unflushed.hpp"
#include "libcommon/net/r3_watch.hpp"

namespace r3 {

class R3Session {
 public:
  R3Session(R3Dial dial, const R3ClientOptions& options);

  const wire::Welcome& welcome() const { return welcome_; }  // of the first connection: limits, size
  const R3ClientOptions& options() const { return options_; }
  Stop& stop() { return stop_; }
  const R3Dial& dial() const { return dial_; }
  // Of this client's writes, as the server gave it; 0: not yet.
  std::uint64_t token() const { return token_; }
  std::chrono::nanoseconds round_trip() const { return std::chrono::nanoseconds(round_trip_); }
  void measured(std::chrono::nanoseconds round_trip) { round_trip_ = round_trip.count(); }
  Outage& outage() { return outage_; }
  HangUpWatch& watch() { return watch_; }  // of all connections

  // For the user: a connection was lost; a dial failed; the connection is there again. Not to be called
  // with a slot's lock held: whoever is told may take its time.
  void lost(const std::string& reason);
  void still_lost(const std::string& reason);
  void back();
  wire::Hello hello(std::uint32_t slot, std::uint32_t generation, bool nearby) const;

  // A connection's HELLO was answered. `replay` is called, with nobody else in the session, when the
  // server is not the one that answered the changes given to it: they have to be made again before
  // anything else. It counts those that it made, from the first, also if it throws: the next connection
  // to the same server goes on from there. Throws ESTALE for another export than before.
  using Replay = std::function<void(const std::deque<Unflushed>&, std::size_t& done)>;
  void welcomed(const wire::Welcome& welcome, const Replay& replay);

  // The error that everything fails with, for good: ESTALE once the server's export was another one,
  // ESHUTDOWN when there is nothing to dial again; 0 so far.
  int dead() const { return dead_.load(std::memory_order_relaxed); }
  void end(int error);

  // Holds the caller back while another change to the same bytes is in flight: their order would be lost
  // when they are sent again.
  void begin_change(std::uint64_t offset, std::uint64_t length);
  void end_change(std::uint64_t offset, std::uint64_t length) noexcept;
  // The server with this verifier answered the change. False: it is gone, the change has to be sent again.
  // `full`: time to flush.
  bool keep(const wire::Header& request, ConstBytes data, std::uint64_t verifier, bool& full);
  // Where a flush stands that is sent now, none if there was no change since the last (the first flush is
  // sent in any case: a client before this one may have left something); what it made durable.
  std::optional<std::uint64_t> flush_point();
  bool flushed(std::uint64_t point, std::uint64_t verifier);

 private:
  const R3Dial dial_;
  const R3ClientOptions options_;
  std::array<std::byte, 16> id_;
  Stop stop_;
  std::atomic<int> dead_{0};
  std::atomic<std::uint64_t> token_{0};
  std::atomic<std::int64_t> round_trip_{0};
  Outage outage_;
  HangUpWatch watch_;

  std::mutex telling_;
  unsigned lost_ = 0;        // guarded by telling_: connections
  std::string last_reason_;  // guarded by telling_

  std::mutex mutex_;
  bool known_ = false;                // guarded by mutex_: welcome_ is set (then it stays)
  wire::Welcome welcome_;
  std::uint64_t verifier_ = 0;        // guarded by mutex_
  std::uint64_t replaying_to_ = 0;    // guarded by mutex_: the verifier of the server that has
  std::size_t replayed_ = 0;          // guarded by mutex_: so many of unflushed_ already
  UnflushedLog unflushed_;            // guarded by mutex_: empty if a restart loses everything
  std::uint64_t changes_ = 0;         // guarded by mutex_: answered so far
  std::uint64_t durable_ = 0;         // guarded by mutex_: of these, and not in unflushed_ any more
  bool flushed_ = false;              // guarded by mutex_: once at least
  struct Range { std::uint64_t offset, length; };
  std::vector<Range> changing_;       // guarded by mutex_
  std::condition_variable changed_;
};

}  // namespace r3
