// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_link.hpp"

#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr int kUnsent = 128 * 1024;  // 1 ms of a 1 Gbit/s link

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

bool is_ready(int fd, short events) {
  pollfd watched{fd, events, 0};
  return ::poll(&watched, 1, 0) > 0;
}

class SocketLink : public Link {
 public:
  explicit SocketLink(Channel channel) : channel_(std::move(channel)) {}

  std::optional<std::size_t> read_some(Bytes into) override {
    const auto n = ::recv(input(), into.data(), into.size(), MSG_DONTWAIT);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (would_block()) return std::nullopt;
    fail(errno, "receive");
  }

  std::optional<std::size_t> read_some(Bytes into, Bytes then) override {
    iovec parts[] = {{into.data(), into.size()}, {then.data(), then.size()}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    const auto n = ::recvmsg(input(), &message, MSG_DONTWAIT);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (would_block()) return std::nullopt;
    fail(errno, "receive");
  }

  std::size_t write_some(std::span<const iovec> parts) override {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts.data());
    message.msg_iovlen = std::min<std::size_t>(parts.size(), IOV_MAX);
    const auto n = ::sendmsg(output(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (would_block()) return 0;
    fail(errno, "send");
  }

  void finish() noexcept override { ::shutdown(output(), SHUT_WR); }
  std::string why_ended() const override { return channel_.why_ended(); }
  bool refused_usage() const override { return channel_.refused_usage(); }
  int input() const override { return channel_.input(); }
  int output() const override { return channel_.output(); }
  void shut_down() noexcept override { channel_.shut_down(); }

 protected:
  Channel channel_;
};

// Pipes and terminals know no MSG_DONTWAIT, and O_NONBLOCK would change them for their other owners:
// poll says when a call does not wait, up to PIPE_BUF bytes for a write.
class PipeLink : public SocketLink {
 public:
  using SocketLink::SocketLink;

  std::optional<std::size_t> read_some(Bytes into, Bytes) override { return read_some(into); }

  std::optional<std::size_t> read_some(Bytes into) override {
    if (!is_ready(input(), POLLIN)) return std::nullopt;
    const auto n = ::read(input(), into.data(), into.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (would_block()) return std::nullopt;
    fail(errno, "read");
  }

  std::size_t write_some(std::span<const iovec> parts) override {
    std::size_t taken = 0;
    for (const iovec& part : parts)
      for (std::size_t done = 0; done < part.iov_len;) {
        if (!is_ready(output(), POLLOUT)) return taken;
        const auto bytes = std::min<std::size_t>(part.iov_len - done, PIPE_BUF);
        const auto n = ::write(output(), static_cast<const char*>(part.iov_base) + done, bytes);
        if (n < 0 && would_block()) return taken;
        done += static_cast<std::size_t>(check(n, "write"));
        taken += static_cast<std::size_t>(n);
      }
    return taken;
  }

  void finish() noexcept override {}
};

bool is_socket(int fd) {
  int type = 0;
  socklen_t length = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

void wait_or_throw(int fd, short events, const Stop& stop, int timeout_ms) {
  switch (wait_for(fd, events, stop, timeout_ms)) {
    case Wait::ready: return;
    case Wait::stopped: fail(ECANCELED, "connection");
    case Wait::timed_out: fail(ETIMEDOUT, "connection");
  }
}

std::size_t total_size(std::span<const iovec> parts) {
  std::size_t total = 0;
  for (const iovec& part : parts) total += part.iov_len;
  return total;
}

}  // namespace

std::unique_ptr<Link> make_plain_link(Channel channel) {
  if (is_socket(channel.input()) && is_socket(channel.output()))
    return std::make_unique<SocketLink>(std::move(channel));
  return std::make_unique<PipeLink>(std::move(channel));
}

void bound_unsent(int socket) noexcept {
  // Refused for what is not TCP: a UNIX socket's own buffer is small.
  ::setsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsent, sizeof kUnsent);
}

void write_all(Link& link, std::span<const iovec> parts, const Stop& stop, int timeout_ms,
               wire::LinkRate* rate) {
  std::vector<iovec> left(parts.begin(), parts.end());
  std::span<iovec> rest(left);
  while (!rest.empty()) {
    std::size_t taken = link.write_some(rest);
    if (rate) rate->tried(taken, taken < total_size(rest));
    if (taken == 0) {
      wait_or_throw(link.output(), POLLOUT, stop, timeout_ms);
      link.push();
      continue;
    }
    while (!rest.empty() && taken >= rest.front().iov_len) {
      taken -= rest.front().iov_len;
      rest = rest.subspan(1);
    }
    if (taken > 0) {
      rest.front().iov_base = static_cast<char*>(rest.front().iov_base) + taken;
      rest.front().iov_len -= taken;
    }
  }
  while (!link.push()) wait_or_throw(link.output(), POLLOUT, stop, timeout_ms);
}

std::size_t read_all(Link& link, Bytes into, const Stop& stop, int timeout_ms) {
  std::size_t done = 0;
  while (done < into.size()) {
    const auto n = link.read_some(into.subspan(done));
    if (n && *n == 0) break;
    if (n) done += *n;
    if (!n && !link.holds_input()) wait_or_throw(link.input(), POLLIN, stop, timeout_ms);
  }
  return done;
}

}  // namespace r3
