// SPDX-License-Identifier: Apache-2.0
// Addresses become descriptors: connect, listen, accept, socket activation, commands. Knows no
// protocol. TCP connections get TCP_NODELAY and keep-alive probes (a vanished peer is noticed after
// about a minute of silence).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"
#include "libcommon/net/address.hpp"

namespace r3 {

// A bidirectional byte stream. `input` and `output` are the same descriptor but for stdio. A command
// (exec:) has its own session, so that a Ctrl-C for the tool does not cut the tool's connection; it is
// ended when the channel is destroyed: by the end of its input, after 0.5 s by TERM, after 2 s more by
// KILL; and reaped. If this process is killed, the command is ended all the same.
class Channel {
 public:
  Channel() = default;
  explicit Channel(Fd stream);
  Channel(Fd input, Fd output);
  Channel(Fd stream, pid_t child, Fd leash);
  Channel(Channel&&) noexcept;
  Channel& operator=(Channel&&) noexcept;
  ~Channel();

  int input() const { return input_.get(); }
  int output() const { return output_.valid() ? output_.get() : input_.get(); }
  bool valid() const { return input_.valid(); }
  // Wakes everybody who waits on the stream: their reads end, their writes fail. Pipes cannot be woken
  // so: who reads them waits on a Stop.
  void shut_down() noexcept;
  // For a stream that ended too early: what became of the command behind it ("the command ended with
  // status 127"), or empty. Waits up to 0.25 s for a command that is just ending.
  std::string why_ended() const;
  // Whether that command ended with status 2: it does not take what it was given. Waits likewise.
  bool refused_usage() const;

 private:
  void end() noexcept;

  Fd input_;
  Fd output_;  // invalid: the same as input_
  Fd leash_;    // while it is open, the command lives
  pid_t child_ = -1;
};

// Connects, or throws std::system_error with the address in its text; ETIMEDOUT after `timeout`,
// ECANCELED when the stop is requested. All addresses of a name are tried. What cannot be interrupted
// is the system's resolver. fd:N and - are taken over: their numbers lead to /dev/null afterwards, so
// that nothing else in the process can write into the stream.
Channel connect_to(const Address& address, std::chrono::milliseconds timeout, const Stop& stop);

// Runs `command` with sh, with one end of a socket pair as its stdin and stdout. It inherits stderr
// and no other descriptor; no signal is blocked in it, and SIGPIPE has its default.
Channel start_command(const std::string& command);
// Likewise a program by its path, without a shell; `what` names it in errors.
Channel start_program(const std::vector<std::string>& arguments, const std::string& what);

// Listening sockets. Destroying one removes the UNIX socket file that it made. A stale socket file
// (nobody answers there) is replaced; a file that is no socket, or a live one, is refused.
class Listener {
 public:
  // tcp, unix, vsock, or fd (a listening socket, taken over). A UNIX socket file has mode 0600.
  // std::invalid_argument for an address where nothing can listen (-, exec:).
  explicit Listener(const Address& address);
  // Socket activation, sd_listen_fds(3): empty if LISTEN_PID is not this process. The variables are
  // removed from the environment: call before threads start.
  static std::vector<Listener> from_environment();
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  int fd() const { return socket_.get(); }
  // With the port that was really bound; for inherited sockets, the name that they are bound to.
  const Address& address() const { return address_; }
  // The next connection, or an invalid one when the stop was requested. Running out of descriptors or
  // memory is waited out, not thrown. Any number of threads may call.
  Fd accept(const Stop& stop);

 private:
  Listener(Fd socket, Address address) : socket_(std::move(socket)), address_(std::move(address)) {}
  static Listener inherited(int fd);
  void remember_file();

  Fd socket_;
  Address address_;
  dev_t device_ = 0;  // of the socket file that we made, with
  ino_t inode_ = 0;   // its inode; 0: there is none to remove
};

}  // namespace r3
