// SPDX-License-Identifier: Apache-2.0
// One connection of an r3/1 client, dialled again for as long as somebody waits on it. It has no thread of
// its own: of those that wait for answers one receives for all (the leader), so that a lone request needs
// no hand-over between threads. Part of r3_client.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "libcommon/net/r3_call.hpp"
#include "libcommon/net/r3_frame_reader.hpp"
#include "libcommon/net/r3_payload.hpp"
#include "libcommon/net/r3_session.hpp"

namespace r3 {

class R3Slot {
 public:
  R3Slot(R3Session& session, std::uint32_t index);
  ~R3Slot();

  // Connects, or throws why not. For the first slot, at the start.
  void connect_first();

  // Sends the request, or leaves that to the next dial. With `more`, sending may wait for the next call.
  void start(R3Call& call, bool more);
  // Until the answer is there; throws what it says (std::system_error), EIO after the time-out,
  // ESHUTDOWN after abandon().
  void wait(R3Call& call);
  void abandon() noexcept;
  // The keeper's: takes note of a connection that ended while nobody used it, and dials again until there
  // is one, unless somebody else does.
  void look_after();
  // Requests in flight; a hint.
  std::size_t load() const { return in_flight_.load(std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::unique_lock<std::mutex>;

  // How long a connection may be silent from now on, in ms: no longer than the user is patient.
  int longest_silence() const;

  // Until the server's credits allow the call: its place among those in flight.
  void take_place(R3Call& call);
  void wait_for_credit(Lock& lock, R3Call& call, std::uint64_t bytes);

  // Of the sender; under sending_.
  void send(wire::Header request, ConstBytes data, bool more);
  void append(const wire::Header& request, ConstBytes payload);
  void send_out(ConstBytes payload);
  void send_corked();

  // Waits until done(), leading or following. Throws as wait() does.
  template <class Done>
  void drive(Lock& lock, std::condition_variable& mine, Done done);
  [[noreturn]] void raise(int error) const;
  void promote();
  void finish(R3Call& call, int error);
  void cancel(Lock& lock, R3Call& call);
  void break_off() noexcept;

  // The leader's. They unlock while they wait; errors end the connection, not the call.
  void lead(Lock& lock, Clock::time_point until);
  void lose(Lock& lock, const std::string& what_happened);
  // r3_receive.cpp:
  void receive(Lock& lock, Clock::time_point until);
  std::chrono::milliseconds quiet_time() const;
  void wait_for_bytes(Clock::time_point until);
  void ask_for_life();
  bool take_frames(Lock& lock);
  R3Call& call_of(const wire::Header& reply);
  void take_reply(const wire::Header& reply, ConstBytes payload);
  Bytes place_of(const R3Call& call, const wire::Header& reply) const;
  void receive_into(Bytes into, Bytes then);
  void take_long(Lock& lock, const wire::Header& reply);
  void got_data(R3Call& call, const wire::Header& reply);

  // r3_dial.cpp: of the leader, without the lock.
  bool back_off(Clock::time_point until);
  void dial(Clock::time_point until);
  struct Dialling;
  void greet(Dialling& to);
  void replay(Dialling& to, const std::deque<Unflushed>& changes, std::size_t& done);
  void take_over(Dialling& to);
  void send_again(Lock& lock);

  R3Session& session_;
  const std::uint32_t index_;
  std::uint32_t generation_ = 0;  // the leader's

  // Taken before mutex_. Guards writing to link_ and the next five.
  std::mutex sending_;
  std::vector<std::byte> corked_;
  std::uint64_t sent_ = 0;  // frames of this connection
  wire::Packer packer_;
  wire::LinkRate rate_;
  bool may_compress_ = false;

  std::mutex mutex_;
  std::unique_ptr<Link> link_;  // changed with both locks held
  std::unique_ptr<wire::FrameReader> reader_;  // the leader's
  wire::Unpacker unpacker_;                    // the leader's
  bool sums_ = true;
  bool up_ = false;        // guarded by mutex_
  std::uint64_t connection_ = 0;  // guarded by mutex_: the number of link_
  bool leader_ = false;    // guarded by mutex_: somebody receives or dials
  bool pinned_ = false;    // guarded by mutex_: the leader uses a call's memory without the lock
  std::condition_variable unpinned_;
  std::vector<R3Call*> calls_;             // guarded by mutex_: by the low half of the id
  std::deque<R3Call*> again_;              // guarded by mutex_: to be sent on this connection too
  std::size_t allowance_ = 0;              // guarded by mutex_: how many of them now
  std::vector<std::uint32_t> free_;        // guarded by mutex_: unused places in calls_
  std::vector<std::condition_variable*> waiting_;   // guarded by mutex_: who could lead
  std::vector<std::condition_variable*> starving_;  // guarded by mutex_: who waits for credits
  std::uint64_t bytes_ = 0;                // guarded by mutex_: in flight
  std::uint32_t serial_ = 0;               // guarded by mutex_
  Clock::time_point asked_{};              // the leader's: when the first PING without an answer was sent
  Clock::time_point connected_{};          // the leader's: when link_ was greeted
  bool given_up_ = false;                  // guarded by mutex_: a call was, and link_ shut down for that
  bool lost_ = false;                      // the leader's: the user was told so
  bool hung_up_ = false;                   // guarded by mutex_: the keeper saw it and could not look
  unsigned failures_ = 0;                  // the leader's: dials in a row without an answer
  unsigned barren_ = 0;                    // the leader's: of these, how many were greeted
  std::atomic<std::size_t> in_flight_{0};
};

}  // namespace r3
