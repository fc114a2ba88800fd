// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string_view>

#include "libcommon/base/error.hpp"
#include "libcommon/base/log.hpp"
#include "libcommon/base/resident.hpp"
#include "libcommon/cli/signals.hpp"

namespace r3 {

namespace {

std::string_view name_of(std::string_view entry) {
  return entry.substr(0, entry.find('='));
}

// The environment of this process with `added` in the place of variables of the same name.
std::vector<char*> merge(const std::vector<std::string>& added) {
  std::vector<char*> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    bool replaced = false;
    for (const auto& text : added) replaced = replaced || name_of(text) == name_of(*entry);
    if (!replaced) all.push_back(*entry);
  }
  for (const auto& text : added) all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> all;
  for (const auto& word : words) all.push_back(const_cast<char*>(word.c_str()));
  all.push_back(nullptr);
  return all;
}

// Between fork and exec only what is safe in a signal handler may be called: no allocation.
[[noreturn]] void become(char* const* argv, char* const* environment, pid_t parent,
                         const PassedFd& passed) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(128 + SIGTERM);  // it died before it could be noticed
  ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);  // what the caller left open, too
  reset_signals_for_exec();
  be_ordinary_again();
  if (passed.fd.get() == passed.number) ::fcntl(passed.number, F_SETFD, 0);
  else if (passed.fd.valid()) ::dup2(passed.fd.get(), passed.number);
  ::execvpe(argv[0], argv, environment);
  const int error = errno;
  const char* reason = ::strerrordesc_np(error);
  const char* const name = argv[0];
  for (const char* part : {name, ": ", reason != nullptr ? reason : "cannot be run", "\n"})
    [[maybe_unused]] const auto n = ::write(STDERR_FILENO, part, std::strlen(part));
  ::_exit(error == ENOENT ? 127 : 126);
}

}  // namespace

Child::Child(const std::vector<std::string>& command,
             const std::vector<std::string>& environment, const PassedFd& passed) {
  const auto argv = pointers(command);
  const auto variables = merge(environment);
  const pid_t parent = ::getpid();
  pid_ = check(::fork(), "fork");
  if (pid_ == 0) become(argv.data(), variables.data(), parent, passed);
  // glibc of every supported release has pidfd_open(2) in its list of calls, not all as a function.
  pidfd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!pidfd_.valid()) {
    const int error = errno;
    ::kill(pid_, SIGKILL);
    reap();
    fail(error, "pidfd_open");
  }
}

Child::~Child() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  reap();
}

int Child::wait(const Stop& stop, std::chrono::milliseconds patience) {
  if (wait_for(pidfd_.get(), POLLIN, stop) == Wait::stopped) {
    ::kill(pid_, SIGTERM);
    if (!ended_within(static_cast<int>(patience.count()))) {
      log_warning("the command did not stop when told to: killing it");
      ::kill(pid_, SIGKILL);
    }
  }
  return reap();
}

bool Child::ended_within(int timeout_ms) const {
  const Stop never;
  return wait_for(pidfd_.get(), POLLIN, never, timeout_ms) == Wait::ready;
}

int Child::reap() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace r3
