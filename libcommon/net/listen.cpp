// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/sizes.hpp"
#include "libcommon/net/sockaddr.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

namespace {

constexpr int kBacklog = 128;
constexpr int kFirstInherited = 3;  // SD_LISTEN_FDS_START
constexpr std::chrono::milliseconds kShortage{100};

Fd make_socket(const SocketAddress& address, const std::string& what) {
  return Fd(check(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), what));
}

// Removes a socket file on which nobody listens; leaves one that was never there in peace.
void clear_stale(const std::string& path, const SocketAddress& address, const std::string& what) {
  struct stat before, now;
  if (::lstat(path.c_str(), &before) < 0) return;
  if (!S_ISSOCK(before.st_mode)) fail(EEXIST, what + " is a file that is not a socket");
  const Fd probe = make_socket(address, what);
  if (::connect(probe.get(), address.get(), address.length) == 0 || errno == EAGAIN)
    fail(EADDRINUSE, what + " has a server that answers");
  if (errno != ECONNREFUSED) fail(errno, what);
  // Another server may have replaced it meanwhile; only what was probed goes.
  if (::lstat(path.c_str(), &now) == 0 && now.st_ino == before.st_ino && now.st_dev == before.st_dev)
    ::unlink(path.c_str());
}

// The errno of binding, 0 for success.
int try_bind(int socket, const SocketAddress& address) {
  const int on = 1;
  if (address.family() == AF_INET || address.family() == AF_INET6)
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // The mode of the file that bind() makes: set here, it is never wider, not even for a moment.
  if (address.family() == AF_UNIX) ::fchmod(socket, 0600);
  return ::bind(socket, address.get(), address.length) < 0 ? errno : 0;
}

Fd bind_any(const std::vector<SocketAddress>& candidates, const std::string& what) {
  int error = EADDRNOTAVAIL;
  for (const SocketAddress& candidate : candidates) {
    Fd socket = make_socket(candidate, what);
    error = try_bind(socket.get(), candidate);
    if (error == 0) return socket;
  }
  fail(error, what);
}

bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

// accept(2) passes on what went wrong with one connection; the listener itself is well.
bool concerns_one_connection(int error) {
  constexpr std::array ours = {EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EFAULT};
  for (const int fatal : ours)
    if (error == fatal) return false;
  return true;
}

std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value ? value : "";
  ::unsetenv(name);
  return text;
}

}  // namespace

// The delegation makes the destructor run, and remove the file, when something here throws.
Listener::Listener(const Address& address) : Listener(Fd(), address) {
  const auto what = to_text(address);
  if (address.kind == Address::Kind::stdio || address.kind == Address::Kind::exec)
    throw std::invalid_argument("address \"" + what + "\" is one connection: nothing can listen there");
  if (address.kind == Address::Kind::fd) {
    Listener taken = inherited(address.fd);
    socket_ = std::move(taken.socket_);
    address_ = std::move(taken.address_);
    return;
  }
  const auto candidates = resolve(address, true);
  const bool has_file = address.kind == Address::Kind::unix_socket && !address.path.starts_with('@');
  if (has_file) clear_stale(address.path, candidates.front(), what);
  socket_ = bind_any(candidates, what);
  if (has_file) remember_file();
  check(::listen(socket_.get(), kBacklog), what);
  if (!has_file && address.kind != Address::Kind::unix_socket) {
    const Address bound = bound_address(socket_.get());
    address_.port = bound.port;
    address_.vsock_port = bound.vsock_port;
  }
}

Listener::Listener(Listener&& other) noexcept
    : socket_(std::move(other.socket_)),
      address_(std::move(other.address_)),
      device_(other.device_),
      inode_(std::exchange(other.inode_, 0)) {}

Listener::~Listener() {
  struct stat now;
  if (inode_ == 0 || ::lstat(address_.path.c_str(), &now) < 0) return;
  if (now.st_dev == device_ && now.st_ino == inode_) ::unlink(address_.path.c_str());
}

void Listener::remember_file() {
  struct stat made;
  check(::lstat(address_.path.c_str(), &made), address_.path);
  device_ = made.st_dev;
  inode_ = made.st_ino;
}

Listener Listener::inherited(int fd) {
  const auto what = "fd:" + std::to_string(fd);
  int listening = 0;
  socklen_t size = sizeof listening;
  check(::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), what);
  if (!listening) fail(EINVAL, what + " is not a listening socket");
  check(::fcntl(fd, F_SETFD, FD_CLOEXEC), what);
  set_nonblocking(fd, true);
  return Listener(Fd(fd), bound_address(fd));
}

std::vector<Listener> Listener::from_environment() {
  const auto pid = take_variable("LISTEN_PID");
  const auto count = take_variable("LISTEN_FDS");
  take_variable("LISTEN_FDNAMES");
  std::vector<Listener> listeners;
  if (pid != std::to_string(::getpid())) return listeners;
  const int number = count.empty() ? 0 : static_cast<int>(parse_number(count, 16));
  for (int i = 0; i < number; ++i) listeners.push_back(inherited(kFirstInherited + i));
  return listeners;
}

Fd Listener::accept(const Stop& stop) {
  bool told = false;
  for (;;) {
    if (wait_for(socket_.get(), POLLIN, stop) == Wait::stopped) return {};
    Fd connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (connection.valid()) {
      tune_connection(connection.get());
      return connection;
    }
    const int error = errno;
    if (is_shortage(error)) {
      if (!std::exchange(told, true))
        log_warning(to_text(address_) + ": new connections have to wait: " +
                    std::generic_category().message(error));
      if (stop.wait_for(kShortage)) return {};
    } else if (!concerns_one_connection(error)) {
      fail(error, to_text(address_));
    }
  }
}

}  // namespace r3
