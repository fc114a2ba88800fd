// SPDX-License-Identifier: Apache-2.0
// One connection to an NBD server after the handshake, for any number of threads at a time. Whoever
// makes a request sends it; one of those who wait receives for all, puts what it reads where it
// belongs, and passes the role on when its own answer is there: so a lone request changes hands nowhere.
// When the connection fails, for whatever reason, all calls in flight are lost, and it never recovers;
// making a new one is somebody else's business.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/base/bell.hpp"
#include "libcommon/net/nbd_client_call.hpp"
#include "libcommon/net/nbd_client_handshake.hpp"
#include "libcommon/net/nbd_client_replies.hpp"
#include "libcommon/net/socket.hpp"

namespace r3::nbd {

class Connection : private CallTable {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;  // none: for ever

  Connection(Channel channel, const Agreement& agreement);
  // Says good-bye to the server. No call may be in flight.
  ~Connection() override;

  // Sends the request. The call, its bytes and this connection must stay until wait() has returned.
  // A call that could not be sent before the deadline, or at all, is lost.
  void submit(Call& call, Deadline deadline);
  // Returns when the call is answered or lost. A call that is not answered before the deadline makes
  // the connection fail, because nothing else says that it is of no use any more.
  void wait(Call& call, Deadline deadline) noexcept;

  // Makes every call in flight, and every later one, lost at once.
  void fail(const std::string& text) noexcept;

  bool failed() const;
  // Why, once failed.
  std::string reason() const;
  // Whether it was the server that did not keep to the protocol.
  bool nonsense() const;
  // Whether any request was ever answered.
  bool answered() const;
  unsigned in_flight() const { return in_flight_.load(std::memory_order_relaxed); }

  int fd() const { return channel_.input(); }

 private:
  Call& find(std::uint64_t cookie) override;
  void complete(std::uint64_t cookie) override;

  std::uint64_t enter(Call& call);
  void send(ConstBytes header, ConstBytes payload, Deadline deadline);
  bool wait_to_send(Deadline deadline);
  void receive_for(std::unique_lock<std::mutex>& lock, const Call* own, Deadline deadline);
  void fail_locked(const std::string& text);
  void lose_all();

  struct Slot {
    Call* call = nullptr;
    std::uint64_t cookie = 0;  // of this use; the low bits are the index of the slot
    Bell bell;  // for the call's thread: the state has changed, or it is to receive
  };

  const Agreement agreement_;
  Channel channel_;
  ReplyReader reader_;  // used by the thread that receives

  std::mutex send_mutex_;  // held while one request is being sent
  std::atomic<unsigned> in_flight_{0};

  mutable std::mutex mutex_;  // guards all below, and the states of the calls
  std::deque<Slot> slots_;  // they never move
  std::vector<std::uint32_t> free_;
  std::uint64_t uses_ = 0;
  bool receiving_ = false;  // a thread has the role
  bool failed_ = false;
  bool nonsense_ = false;
  bool answered_ = false;
  std::string reason_;
};

}  // namespace r3::nbd
