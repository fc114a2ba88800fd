// SPDX-License-Identifier: Apache-2.0
// The bytes of one NBD connection in both directions: waits that a stop ends, sends that several
// threads take turns in, and a short, adaptive spin before a wait. Knows no message.
//
// A peer that has gone is no error here: receiving ends and sending says so.
#pragma once

#include <poll.h>
#include <sys/uio.h>

#include <chrono>
#include <mutex>
#include <optional>
#include <span>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/spin.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/socket.hpp"

namespace r3::nbd::server {

class Stream {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Sent { all, gone, fault };

  Stream(Channel& channel, const Stop& stop);
  ~Stream();
  Stream(const Stream&) = delete;

  // One thread receives. Takes what is there, waiting for the first byte; 0 when the peer has left or
  // the stop was requested and nothing is there. `idle` is called once if nothing came for a second.
  template <class Idle>
  std::size_t receive(Bytes into, Idle&& idle) {
    const auto got = receive_spinning(into);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (wait_for(channel_.input(), POLLIN, stop_, kIdleMs) == Wait::timed_out) idle();
    return receive_waiting(into);
  }
  // For the handshake, by its only thread: until lifted, receive_all() throws ETIMEDOUT when the deadline
  // has passed, and to send() a peer that does not read by then is gone.
  void set_deadline(std::optional<Clock::time_point> deadline) { deadline_ = deadline; }
  // Fills `into`; false when the peer has left or the stop was requested.
  bool receive_all(Bytes into);

  // Any thread sends, while it holds the turn: a lock of this.
  std::mutex& sending() { return sending_; }
  // Sends all parts in order (they are used up) and adds to `sent`; waits as long as the peer reads
  // nothing, but only some seconds after the stop. `fault`: the memory of a part cannot be read.
  Sent send(std::span<iovec> parts, std::uint64_t& sent);
  Sent send(ConstBytes bytes);
  // Ends the connection, from any thread, without the turn: who receives is told that the peer has left.
  void cut() noexcept { channel_.shut_down(); }
  const Stop& stop() const { return stop_; }
  // From now on the peer counts as gone. With the turn, too.
  void give_up() noexcept;

  // The last word: whatever was sent reaches a peer that still reads. Nothing is sent afterwards.
  void finish() noexcept;

 private:
  static constexpr int kIdleMs = 1000;
  long receive_some(Bytes into);  // -1: nothing there
  long receive_spinning(Bytes into);
  std::size_t receive_waiting(Bytes into);
  bool wait_writable() const;

  Channel& channel_;
  const Stop& stop_;
  bool socket_ = false;
  Spin spin_;
  Clock::time_point receive_until_ = Clock::time_point::max();  // set when the stop is noticed
  std::optional<Clock::time_point> deadline_;
  std::mutex sending_;
  bool gone_ = false;  // guarded by sending_
};

}  // namespace r3::nbd::server
