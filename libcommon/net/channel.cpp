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

// What /bin/sh runs: the command (its arguments) in its own place, and beside it one that ends the whole process group
// when the leash (descriptor 3) breaks. A newline on the leash lets go.
constexpr char kOnLeash[] =
    "{ trap '' TERM; read -r _ || { kill -TERM 0; sleep 2; kill -KILL 0; }; } <&3 >/dev/null 2>&1 3<&- &\n"
    "exec \"$@\" 3<&-";
constexpr int kLeash = STDERR_FILENO + 1;

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

// What became of a child that may have ended; it is not reaped.
bool has_ended(pid_t child, siginfo_t& info) {
  const auto id = static_cast<id_t>(child);
  return ::waitid(P_PID, id, &info, WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid != 0;
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
Channel::Channel(Fd stream, pid_t child, Fd leash)
    : input_(std::move(stream)), leash_(std::move(leash)), child_(child) {}

Channel::Channel(Channel&& other) noexcept
    : input_(std::move(other.input_)),
      output_(std::move(other.output_)),
      leash_(std::move(other.leash_)),
      child_(std::exchange(other.child_, -1)) {}

Channel& Channel::operator=(Channel&& other) noexcept {
  if (this == &other) return *this;
  end();
  input_ = std::move(other.input_);
  output_ = std::move(other.output_);
  leash_ = std::move(other.leash_);
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
  ::send(leash_.get(), "\n", 1, MSG_NOSIGNAL);
  leash_.reset();
  child_ = -1;
}

void Channel::shut_down() noexcept {
  if (input_.valid()) ::shutdown(input_.get(), SHUT_RDWR);
  if (output_.valid()) ::shutdown(output_.get(), SHUT_RDWR);
}

std::string Channel::why_ended() const {
  siginfo_t info{};
  if (child_ < 0 || !ends_within(child_, 250) || !has_ended(child_, info)) return {};
  const auto number = std::to_string(info.si_status);
  if (info.si_code == CLD_EXITED) return "the command ended with status " + number;
  return "the command was ended by signal " + number;
}

bool Channel::refused_usage() const {
  siginfo_t info{};
  return child_ >= 0 && ends_within(child_, 250) && has_ended(child_, info) &&
         info.si_code == CLD_EXITED && info.si_status == 2;
}

Channel start_command(const std::string& command) {
  return start_program({"/bin/sh", "-c", command}, "exec:" + command);
}

Channel start_program(const std::vector<std::string>& arguments, const std::string& what) {
  SocketPair pair = make_socket_pair();
  SocketPair leash = make_socket_pair();
  Spawn spawn;
  ::posix_spawn_file_actions_adddup2(&spawn.actions, pair.theirs.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, STDIN_FILENO, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&spawn.actions, leash.theirs.get(), kLeash);
  ::posix_spawn_file_actions_addclosefrom_np(&spawn.actions, kLeash + 1);
  sigset_t blocked, defaults;
  ::sigemptyset(&blocked);
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&spawn.attributes, &blocked);
  ::posix_spawnattr_setsigdefault(&spawn.attributes, &defaults);
  ::posix_spawnattr_setflags(&spawn.attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  if (::access(arguments[0].c_str(), X_OK) != 0) fail(errno, what);
  std::vector<const char*> words{"sh", "-c", kOnLeash, "sh"};
  for (const auto& one : arguments) words.push_back(one.c_str());
  words.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, "/bin/sh", &spawn.actions, &spawn.attributes,
                                  const_cast<char**>(words.data()), environ);
  if (error != 0) fail(error, what);
  return Channel(std::move(pair.ours), child, std::move(leash.ours));
}

}  // namespace r3
