// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/usher.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

namespace {

constexpr char kOn = '+';
constexpr char kOff = '-';

struct Order {
  char what;
  int flags;
  char path[256];
};

// In a process of its own once more: when memory runs out, the kernel kills whoever is inside swapoff first.
int swap_off(const char* path) noexcept {
  const pid_t child = ::_Fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(::swapoff(path) == 0 ? 0 : errno);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : EOWNERDEAD;
}

// From here on only system calls: other threads' locks may be held for ever in this copy. Signals stay blocked,
// so that a Ctrl-C for the whole terminal does not interrupt swapoff; none but KILL ends it.
[[noreturn]] void serve(int socket) noexcept {
  ::prctl(PR_SET_NAME, "ram-dl usher");
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  constexpr int kMine = STDERR_FILENO + 1;
  ::dup2(socket, kMine);
  ::close_range(kMine + 1, ~0U, 0);
  Order order;
  while (::recv(kMine, &order, sizeof order, MSG_WAITALL) == static_cast<ssize_t>(sizeof order)) {
    int result = 0;
    if (order.what == kOff)
      result = swap_off(order.path);
    else if (::swapon(order.path, order.flags) != 0)
      result = errno;
    if (::send(kMine, &result, sizeof result, MSG_NOSIGNAL) < 0) break;
  }
  ::_exit(0);
}

}  // namespace

SwapUsher::SwapUsher() {
  SocketPair pair = make_socket_pair();
  pid_ = check(::fork(), "fork");
  if (pid_ == 0) serve(pair.theirs.get());
  socket_ = std::move(pair.ours);
}

SwapUsher::~SwapUsher() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void SwapUsher::ask(char what, const std::string& path, int flags) {
  Order order{};
  order.what = what;
  order.flags = flags;
  path.copy(order.path, sizeof order.path - 1);
  if (::send(socket_.get(), &order, sizeof order, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof order))
    fail(EOWNERDEAD, "the process that turns swap on and off");
}

void SwapUsher::swap_on(const std::string& path, int flags) {
  ask(kOn, path, flags);
  const auto result = swap_off_result(std::chrono::milliseconds(-1));
  if (result != 0) fail(*result, "swapon " + path);
}

void SwapUsher::begin_swap_off(const std::string& path) { ask(kOff, path, 0); }

std::optional<int> SwapUsher::swap_off_result(std::chrono::milliseconds patience) {
  const Stop never;
  if (wait_for(socket_.get(), POLLIN, never, static_cast<int>(patience.count())) != Wait::ready)
    return std::nullopt;
  int result = 0;
  if (::recv(socket_.get(), &result, sizeof result, MSG_WAITALL) != static_cast<ssize_t>(sizeof result))
    return EOWNERDEAD;
  return result;
}

}  // namespace r3
