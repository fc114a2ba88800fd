// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/nbd_stream.hpp"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "libcommon/base/error.hpp"
#include "libcommon/net/deadline.hpp"

namespace r3::nbd::server {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds kReceiveAfterStop = 1s;
constexpr int kGraceMs = 2000;   // for a peer that does not read although the stop was requested
constexpr int kLingerMs = 200;   // for a peer that has not closed yet
constexpr int kSendBuffer = 1 << 20;

bool is_socket(int fd) {
  struct stat status;
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

bool means_gone(int error) {
  return error == ECONNRESET || error == EPIPE || error == ETIMEDOUT || error == ENOTCONN ||
         error == ECONNABORTED || error == EHOSTUNREACH || error == ENETUNREACH;
}

bool poll_one(int fd, short events, int timeout_ms) {
  pollfd watched{fd, events, 0};
  return ::poll(&watched, 1, timeout_ms) > 0;
}

}  // namespace

Stream::Stream(Channel& channel, const Stop& stop)
    : channel_(channel), stop_(stop), socket_(is_socket(channel.input()) && is_socket(channel.output())) {
  if (!socket_) {
    set_nonblocking(channel_.input(), true);
    set_nonblocking(channel_.output(), true);
    return;
  }
  // A UNIX socket's default holds fewer than 64 replies of 4 KiB. TCP's size tunes itself.
  int domain = 0;
  socklen_t length = sizeof domain;
  ::getsockopt(channel_.output(), SOL_SOCKET, SO_DOMAIN, &domain, &length);
  if (domain == AF_UNIX)
    ::setsockopt(channel_.output(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
}

Stream::~Stream() {
  if (socket_) return;
  // Standard input and output may be shared with other processes, which expect them to block.
  for (const int fd : {channel_.input(), channel_.output()}) {
    try {
      set_nonblocking(fd, false);
    } catch (const std::system_error&) {
    }
  }
}

long Stream::receive_some(Bytes into) {
  for (;;) {
    const auto got = socket_ ? ::recv(channel_.input(), into.data(), into.size(), MSG_DONTWAIT)
                             : ::read(channel_.input(), into.data(), into.size());
    if (got >= 0) return got;
    if (errno == EAGAIN) return -1;
    if (means_gone(errno)) return 0;
    if (errno != EINTR) fail(errno, "receive from the client");
  }
}

long Stream::receive_spinning(Bytes into) {
  if (stop_.requested()) {
    // What was sent before is still answered, but a client that goes on sending cannot hold us up.
    if (receive_until_ == Clock::time_point::max()) receive_until_ = Clock::now() + kReceiveAfterStop;
    if (Clock::now() > receive_until_) return 0;
  }
  auto got = receive_some(into);
  if (got >= 0) return got;
  spin_.before_wait([&] { return (got = receive_some(into)) >= 0; });
  return got;
}

std::size_t Stream::receive_waiting(Bytes into) {
  for (bool stopped = false;;) {
    const auto got = receive_some(into);
    if (got >= 0) {
      spin_.after_wait();
      return static_cast<std::size_t>(got);
    }
    if (stopped) return 0;
    stopped = wait_for(channel_.input(), POLLIN, stop_) == Wait::stopped;
  }
}

bool Stream::receive_all(Bytes into) {
  while (!into.empty()) {
    const auto got = receive_some(into);
    if (got == 0) return false;
    if (got > 0) {
      into = into.subspan(static_cast<std::size_t>(got));
      continue;
    }
    if (deadline_ && Clock::now() >= *deadline_) fail(ETIMEDOUT, "handshake");
    if (wait_for(channel_.input(), POLLIN, stop_, milliseconds_until(deadline_)) == Wait::stopped)
      return false;
  }
  return true;
}

bool Stream::wait_writable() const {
  if (deadline_ && Clock::now() >= *deadline_) return false;
  switch (wait_for(channel_.output(), POLLOUT, stop_, milliseconds_until(deadline_))) {
    case Wait::ready: return true;
    case Wait::timed_out: return true;  // the deadline is looked at again
    case Wait::stopped: break;
  }
  return poll_one(channel_.output(), POLLOUT, kGraceMs);
}

Stream::Sent Stream::send(std::span<iovec> parts, std::uint64_t& sent) {
  while (!parts.empty()) {
    if (gone_) return Sent::gone;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
    auto done = socket_ ? ::sendmsg(channel_.output(), &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : ::writev(channel_.output(), message.msg_iov,
                                   static_cast<int>(message.msg_iovlen));
    if (done < 0) {
      if (errno == EINTR) continue;
      if (errno == EFAULT) return Sent::fault;
      if (errno == EAGAIN && wait_writable()) continue;
      give_up();
      return Sent::gone;
    }
    sent += static_cast<std::uint64_t>(done);
    while (!parts.empty() && static_cast<std::size_t>(done) >= parts.front().iov_len) {
      done -= static_cast<ssize_t>(parts.front().iov_len);
      parts = parts.subspan(1);
    }
    if (done > 0) {
      parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + done;
      parts.front().iov_len -= static_cast<std::size_t>(done);
    }
  }
  return Sent::all;
}

Stream::Sent Stream::send(ConstBytes bytes) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  std::uint64_t sent = 0;
  return send(std::span(&part, bytes.empty() ? 0 : 1), sent);
}

void Stream::give_up() noexcept {
  gone_ = true;
  channel_.shut_down();
}

void Stream::finish() noexcept {
  if (!socket_) return;
  // Closing while bytes of the peer are unread would reset the connection, and replies be lost.
  ::shutdown(channel_.output(), SHUT_WR);
  std::array<std::byte, 4096> rest;
  const auto deadline = Clock::now() + std::chrono::milliseconds(kLingerMs);
  while (Clock::now() < deadline && poll_one(channel_.input(), POLLIN, kLingerMs)) {
    if (::recv(channel_.input(), rest.data(), rest.size(), MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace r3::nbd::server
