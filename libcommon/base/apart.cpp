// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/apart.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "libcommon/base/error.hpp"
#include "libcommon/base/mapping.hpp"

namespace r3 {

namespace {

constexpr std::size_t kStack = 256 * KiB;

struct Task {
  const std::function<int()>& body;
  pid_t parent;
  int result = ECHILD;
};

int run(void* argument) noexcept {
  Task& task = *static_cast<Task*>(argument);
  // A wait that a signal can end is to end with the parent, too.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != task.parent) return 0;
  if (::close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
    task.result = errno;
  else
    task.result = task.body();
  return 0;
}

// Signal handlers would run in memory that is shared.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

// A vfork() with a stack of its own: nothing of a large region's page tables is copied. No signal
// tells of its end, so nobody else in the process can take it for a child of theirs.
int run_apart(const std::function<int()>& body) noexcept {
  try {
    const Mapping stack = Mapping::anonymous(kStack);
    Task task{body, ::getpid()};
    const SignalsBlocked blocked;
    const pid_t child =
        ::clone(run, stack.bytes().data() + kStack, CLONE_VM | CLONE_VFORK, &task);
    if (child < 0) return errno;
    ::waitpid(child, nullptr, __WALL);
    return task.result;
  } catch (...) {
    return errno_of_current_exception();
  }
}

}  // namespace r3
