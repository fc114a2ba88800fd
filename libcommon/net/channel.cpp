// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "libcommon/base/error.hpp"
#include "libcommon/net/socket.hpp"

namespace r3 {

namespace {

// Waits for a child to end, without reaping it.
bool ends_within(pid_t child, int milliseconds) noexcept {
  const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!process.valid()) return false;
  pollfd watched{process.get(), POLLIN, 0};
  int ready;
  do ready = ::poll(&watched, 1, milliseconds);
  while (ready < 0 && errno == EINTR);
  return ready > 0;
}

// Attributes and actions of posix_spawn, which is safe in a process with threads.
struct Spawn {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

  Spawn() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  Spawn(const Spawn&) = delete;
  ~Spawn() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace

Channel::Channel(Fd stream) : input_(std::move(stream)) {}
Channel::Channel(Fd input, Fd output) : input_(std::move(input)), output_(std::move(output)) {}
Channel::Channel(Fd stream, pid_t child) : input_(std::move(stream)), child_(child) {}

Channel::Channel(Channel&& other) noexcept
    : input_(std::move(other.input_)),
      output_(std::move(other.output_)),
      child_(std::exchange(other.child_, -1)) {}

Channel& Channel::operator=(Channel&& other) noexcept {
  if (this == &other) return *this;
  end();
  input_ = std::move(other.input_);
  output_ = std::move(other.output_);
  child_ = std::exchange(other.child_, -1);
  return *this;
}

Channel::~Channel() {
  end();
}

void Channel::end() noexcept {
  input_.reset();
  output_.reset();
  if (child_ < 0) return;
  // It leads its own process group, so that the signals reach all of a pipeline.
  if (!ends_within(child_, 500)) {
    ::kill(-child_, SIGTERM);
    if (!ends_within(child_, 2000)) ::kill(-child_, SIGKILL);
  }
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) continue;
  child_ = -1;
}

void Channel::shut_down() noexcept {
  if (input_.valid()) ::shutdown(input_.get(), SHUT_RDWR);
  if (output_.valid()) ::shutdown(output_.get(), SHUT_RDWR);
}

std::string Channel::why_ended() const {
  if (child_ < 0 || !ends_within(child_, 250)) return {};
  siginfo_t info{};
  const auto id = static_cast<id_t>(child_);
  if (::waitid(P_PID, id, &info, WEXITED | WNOWAIT | WNOHANG) < 0 || info.si_pid == 0) return {};
  const auto number = std::to_string(info.si_status);
  if (info.si_code == CLD_EXITED) return "the command ended with status " + number;
  return "the command was ended by signal " + number;
}

Channel start_command(const std::string& command) {
  SocketPair pair = make_socket_pair();
  Spawn spawn;
  ::posix_spawn_file_actions_adddup2(&spawn.actions, pair.theirs.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, STDIN_FILENO, STDOUT_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&spawn.actions, STDERR_FILENO + 1);
  sigset_t blocked, defaults;
  ::sigemptyset(&blocked);
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&spawn.attributes, &blocked);
  ::posix_spawnattr_setsigdefault(&spawn.attributes, &defaults);
  ::posix_spawnattr_setflags(&spawn.attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  const char* arguments[] = {"sh", "-c", command.c_str(), nullptr};
  pid_t child = -1;
  const int error = ::posix_spawn(&child, "/bin/sh", &spawn.actions, &spawn.attributes,
                                  const_cast<char**>(arguments), environ);
  if (error != 0) fail(error, "exec:" + command);
  return Channel(std::move(pair.ours), child);
}

}  // namespace r3
