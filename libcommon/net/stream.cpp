// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/stream.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr int kGraceAfterStop = 1000;  // milliseconds

bool is_socket(int fd) {
  struct stat found;
  check(::fstat(fd, &found), "fstat of a stream");
  return S_ISSOCK(found.st_mode);
}

// Up to `most` bytes of the parts as iovecs.
template <std::size_t Count>
std::size_t gather(std::span<const ConstBytes> parts, std::size_t skip, std::size_t most,
                   std::array<iovec, Count>& vectors) {
  std::size_t count = 0;
  for (const ConstBytes part : parts) {
    if (count == Count || most == 0) break;
    const ConstBytes rest = part.subspan(skip, std::min(part.size() - skip, most));
    skip = 0;
    most -= rest.size();
    if (!rest.empty()) vectors[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
  }
  return count;
}

}  // namespace

std::size_t Stream::read_full(Bytes into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const std::size_t n = read_some(into.subspan(done));
    if (n == 0) break;
    done += n;
  }
  return done;
}

FdStream::FdStream(int input, int output, const Stop& stop)
    : input_(input),
      output_(output),
      input_is_socket_(is_socket(input)),
      output_is_socket_(is_socket(output)),
      stop_(stop) {}

int FdStream::milliseconds_left() const {
  if (!deadline_) return kForever;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(
      *deadline_ - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, INT_MAX));
}

void FdStream::wait_readable() const {
  switch (wait_for(input_, POLLIN, stop_, milliseconds_left())) {
    case Wait::ready: return;
    case Wait::stopped: fail(ECANCELED, "read from the peer");
    case Wait::timed_out: fail(ETIMEDOUT, "read from the peer");
  }
}

void FdStream::wait_writable() const {
  switch (wait_for(output_, POLLOUT, stop_, milliseconds_left())) {
    case Wait::ready: return;
    case Wait::timed_out: fail(ETIMEDOUT, "write to the peer");
    case Wait::stopped: break;
  }
  pollfd watched{output_, POLLOUT, 0};
  int ready;
  while ((ready = ::poll(&watched, 1, kGraceAfterStop)) < 0 && errno == EINTR) {
  }
  if (check(ready, "poll") == 0) fail(ECANCELED, "write to the peer");
}

std::size_t FdStream::read_some(Bytes into) {
  if (into.empty()) return 0;
  for (;;) {
    if (!input_is_socket_) wait_readable();  // there is no MSG_DONTWAIT for the others
    const auto n = input_is_socket_ ? ::recv(input_, into.data(), into.size(), MSG_DONTWAIT)
                                    : ::read(input_, into.data(), into.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) fail(errno, "read from the peer");
    wait_readable();
  }
}

void FdStream::write_parts(std::span<const ConstBytes> parts) {
  std::array<iovec, 64> vectors;
  std::size_t skip = 0;
  // A pipe that polls as writable takes PIPE_BUF bytes without blocking (pipe(7)), not more.
  const std::size_t most = output_is_socket_ ? SIZE_MAX : PIPE_BUF;
  for (;;) {
    const std::size_t count = gather(parts, skip, most, vectors);
    if (count == 0) return;
    if (!output_is_socket_) wait_writable();
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = count;
    const auto n = output_is_socket_
                       ? ::sendmsg(output_, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                       : ::writev(output_, vectors.data(), static_cast<int>(count));
    if (n < 0) {
      if (errno == EAGAIN) wait_writable();
      else if (errno != EINTR) fail(errno, "write to the peer");
      continue;
    }
    skip += static_cast<std::size_t>(n);
    while (!parts.empty() && skip >= parts.front().size()) {
      skip -= parts.front().size();
      parts = parts.subspan(1);
    }
  }
}

void FdStream::finish() {
  if (output_is_socket_) ::shutdown(output_, SHUT_WR);
}

}  // namespace r3
