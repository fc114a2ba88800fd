// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/fd.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

template <class Call>
auto retry(Call call) {
  for (;;) {
    auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

}  // namespace

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Fd open_file(const std::string& path, int flags, unsigned mode) {
  return Fd(check(retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }), path));
}

Fd duplicate(int fd) {
  return Fd(check(::fcntl(fd, F_DUPFD_CLOEXEC, 3), "duplicate a descriptor"));
}

SocketPair make_socket_pair() {
  int ends[2];
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
  return {Fd(ends[0]), Fd(ends[1])};
}

Pipe make_pipe() {
  int ends[2];
  check(::pipe2(ends, O_CLOEXEC), "pipe");
  return {Fd(ends[0]), Fd(ends[1])};
}

std::size_t read_full(int fd, Bytes into, std::string_view what) {
  std::size_t done = 0;
  while (done < into.size()) {
    auto n = check(retry([&] { return ::read(fd, &into[done], into.size() - done); }), what);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

void write_full(int fd, ConstBytes from, std::string_view what) {
  while (!from.empty()) {
    auto n = check(retry([&] { return ::write(fd, from.data(), from.size()); }), what);
    from = from.subspan(static_cast<std::size_t>(n));
  }
}

std::size_t pread_full(int fd, Bytes into, std::uint64_t offset, std::string_view what) {
  std::size_t done = 0;
  while (done < into.size()) {
    auto at = static_cast<off_t>(offset + done);
    auto n = check(retry([&] { return ::pread(fd, &into[done], into.size() - done, at); }), what);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

void pwrite_full(int fd, ConstBytes from, std::uint64_t offset, std::string_view what) {
  while (!from.empty()) {
    auto at = static_cast<off_t>(offset);
    auto n = check(retry([&] { return ::pwrite(fd, from.data(), from.size(), at); }), what);
    if (n == 0) fail(ENOSPC, what);
    from = from.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::size_t>(n);
  }
}

std::string read_small_file(const std::string& path, std::size_t limit) {
  Fd file = open_file(path, O_RDONLY);
  std::string text;
  for (std::size_t room = std::min<std::size_t>(limit + 1, 1 << 16);; room *= 2) {
    const std::size_t before = text.size();
    text.resize(std::min(room, limit + 1));
    const auto fresh = std::as_writable_bytes(std::span(text)).subspan(before);
    const std::size_t count = read_full(file.get(), fresh, path);
    text.resize(before + count);
    if (text.size() > limit) fail(EFBIG, path);
    if (count < fresh.size()) return text;
  }
}

void send_with_fds(int socket, ConstBytes bytes, const std::vector<int>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = {};
  if (fds.size() > 16) fail(EINVAL, "too many descriptors for one message");
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  auto n = check(retry([&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL); }),
                 "send descriptors");
  if (static_cast<std::size_t>(n) < bytes.size())
    write_full(socket, bytes.subspan(static_cast<std::size_t>(n)));
}

std::size_t receive_with_fds(int socket, Bytes into, std::vector<Fd>& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto n = check(retry([&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC); }),
                 "receive descriptors");
  for (cmsghdr* h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h)) {
    if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  return static_cast<std::size_t>(n);
}

void set_nonblocking(int fd, bool on) {
  const int flags = check(::fcntl(fd, F_GETFL), "fcntl F_GETFL");
  check(::fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK), "fcntl F_SETFL");
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

void raise_descriptor_limit() noexcept {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace r3
