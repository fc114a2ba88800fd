// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/sockaddr.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

milliseconds left_until(Clock::time_point deadline) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(deadline - Clock::now()));
}

// Waits for a connect() in progress; its errno, 0 for success.
int finish_connect(int socket, Clock::time_point deadline, const Stop& stop) {
  switch (wait_for(socket, POLLOUT, stop, static_cast<int>(left_until(deadline).count()))) {
    case Wait::stopped:
      return ECANCELED;
    case Wait::timed_out:
      return ETIMEDOUT;
    case Wait::ready:
      break;
  }
  int error = 0;
  socklen_t size = sizeof error;
  check(::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt SO_ERROR");
  return error;
}

// The errno of the attempt, 0 for success.
int try_connect(int socket, const SocketAddress& to, Clock::time_point deadline, const Stop& stop) {
  for (;;) {
    if (::connect(socket, to.get(), to.length) == 0) return 0;
    if (errno == EINPROGRESS || errno == EINTR) return finish_connect(socket, deadline, stop);
    if (errno != EAGAIN) return errno;
    // A UNIX listener with a full queue; nothing tells when there is room again.
    if (left_until(deadline).count() == 0) return ETIMEDOUT;
    if (stop.wait_for(std::min(left_until(deadline), milliseconds(10)))) return ECANCELED;
  }
}

Channel connect_socket(const Address& address, milliseconds timeout, const Stop& stop) {
  const auto deadline = Clock::now() + timeout;
  const auto candidates = resolve(address, false);
  int error = ETIMEDOUT;
  for (std::size_t i = 0; i < candidates.size() && error != ECANCELED; ++i) {
    Fd socket(::socket(candidates[i].family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) {
      error = errno;
      continue;
    }
    // One address that does not answer must not use up the time of the others.
    const auto share = left_until(deadline) / static_cast<int>(candidates.size() - i);
    error = try_connect(socket.get(), candidates[i], Clock::now() + share, stop);
    if (error != 0) continue;
    tune_connection(socket.get());
    set_nonblocking(socket.get(), false);
    return Channel(std::move(socket));
  }
  fail(error, to_text(address));
}

// Moves a descriptor away and leaves /dev/null in its place.
Fd take_over(int fd, const std::string& what) {
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (moved < 0) fail(errno, what);
  Fd taken(moved);
  const Fd null = open_file("/dev/null", O_RDWR);
  check(::dup3(null.get(), fd, fd > STDERR_FILENO ? O_CLOEXEC : 0), what);
  return taken;
}

Channel take_connected(const Address& address) {
  int listening = 0;
  socklen_t size = sizeof listening;
  const auto what = to_text(address);
  check(::getsockopt(address.fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), what);
  if (listening) fail(EISCONN, what + " is a listening socket, not a connection");
  Fd taken = take_over(address.fd, what);
  set_nonblocking(taken.get(), false);
  tune_connection(taken.get());
  return Channel(std::move(taken));
}

}  // namespace

Channel connect_to(const Address& address, milliseconds timeout, const Stop& stop) {
  switch (address.kind) {
    case Address::Kind::fd:
      return take_connected(address);
    case Address::Kind::stdio: {
      Fd input = take_over(STDIN_FILENO, "stdin");
      return Channel(std::move(input), take_over(STDOUT_FILENO, "stdout"));
    }
    case Address::Kind::exec:
      return start_command(address.command);
    default:
      return connect_socket(address, timeout, stop);
  }
}

}  // namespace r3
