// SPDX-License-Identifier: Apache-2.0
// Addresses become descriptors: connect, listen, accept, socket activation, commands. Knows no
// protocol. TCP sockets get TCP_NODELAY.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/address.hpp"

namespace r3 {

// A bidirectional byte stream. `input` and `output` are the same descriptor but for stdio. A command
// (exec:) is ended with TERM, then KILL, and reaped, when the channel is destroyed.
class Channel {
 public:
  Channel() = default;
  explicit Channel(Fd stream);
  Channel(Fd input, Fd output);
  Channel(Fd stream, pid_t child);
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;
  ~Channel();

  int input() const { return input_.get(); }
  int output() const { return output_.valid() ? output_.get() : input_.get(); }
  bool valid() const { return input_.valid(); }
  // Wakes everybody who waits on the stream: their reads end, their writes fail.
  void shut_down() noexcept;

 private:
  Fd input_;
  Fd output_;  // invalid: the same as input_
  pid_t child_ = -1;
};

// Connects, or throws std::system_error with the address in its text; ETIMEDOUT after `timeout`,
// ECANCELED when the stop is requested.
Channel connect_to(const Address& address, std::chrono::milliseconds timeout, const Stop& stop);

// Listening sockets. Destroying one removes the UNIX socket file that it made. A stale socket file
// (nobody answers there) is replaced; a file that is no socket, or a live one, is refused.
class Listener {
 public:
  explicit Listener(const Address& address);  // tcp, unix, vsock, or fd (a listening socket)
  static std::vector<Listener> from_environment();  // LISTEN_FDS; empty if not for this process
  Listener(Listener&&) noexcept;
  ~Listener();

  int fd() const { return socket_.get(); }
  // With the port that was really bound.
  const Address& address() const { return address_; }
  // The next connection, or an invalid one when the stop was requested. Running out of descriptors or
  // memory is waited out, not thrown.
  Fd accept(const Stop& stop);

 private:
  Listener(Fd socket, Address address);
  Fd socket_;
  Address address_;
  bool remove_path_ = false;
};

}  // namespace r3
