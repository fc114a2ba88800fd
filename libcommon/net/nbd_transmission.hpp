// SPDX-License-Identifier: Apache-2.0
// NBD's transmission phase on one connection: takes requests from a buffer full at a time, answers from
// the same thread what need not wait, and leaves the rest to workers. What a reply looks like and
// what a request may ask is known elsewhere.
#pragma once

#include <atomic>

#include "libcommon/net/nbd_batch.hpp"
#include "libcommon/net/nbd_inbox.hpp"
#include "libcommon/net/nbd_spool.hpp"
#include "libcommon/base/workers.hpp"

namespace r3::nbd::server {

class Transmission {
 public:
  Transmission(Stream& stream, Backend& backend, const Rules& rules, unsigned workers, Tally& tally,
               Spool& spool);

  // Until the client leaves or the stop is requested; everything received is answered by then. Throws
  // ProtocolError when the client sent nonsense, after what came before it was answered.
  void run();

 private:
  static constexpr std::uint64_t kLongestInMemory = 1 * MiB;

  void serve();
  bool answer_waiting();
  bool take_write(const Request& request, WireError error, std::uint64_t payload);
  bool receive_whole(std::size_t size);
  bool drop(std::uint64_t size);
  bool stage(const Request& request);
  struct Staged;

  void answer(const Request& request);
  void read(const Request& request);
  void add_borrowed(const Request& request, ConstBytes data);
  void write(const Request& request, ConstBytes payload);
  void status(const Request& request);
  void hand_over(std::uint64_t bytes, std::function<void()> job);
  void send_end(const Request& request, WireError error);

  void count(const Request& request);
  void publish();

  Session session_;
  Backend& backend_;
  const bool never_waits_;
  Tally& tally_;
  Spool& spool_;
  std::uint64_t requests_ = 0;       // not yet in tally_, like the next two
  std::uint64_t bytes_read_ = 0;
  std::uint64_t bytes_written_ = 0;
  Inbox inbox_;
  Batch batch_;
  Workers workers_;
};

}  // namespace r3::nbd::server
