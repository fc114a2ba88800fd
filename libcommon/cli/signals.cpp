// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/signals.hpp"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

bool is_ignored(int signal) {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

}  // namespace

Signals::Signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // under a limit of the file size a write fails (EFBIG), and no more
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) ::sigaddset(&set, signal);
  if (!is_ignored(SIGHUP)) ::sigaddset(&set, SIGHUP);
  check(-::pthread_sigmask(SIG_BLOCK, &set, &before_), "pthread_sigmask");
  fd_ = Fd(check(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
}

Signals::~Signals() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Signals::start(Actions actions) {
  thread_.spawn([this, actions = std::move(actions)] { read_all(actions); });
}

void Signals::stop_reading() {
  thread_.stop().request();
  thread_.join();
}

void Signals::read_all(const Actions& actions) {
  bool stopping = false;
  while (wait_for(fd_.get(), POLLIN, thread_.stop()) == Wait::ready) {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) continue;
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGUSR1) {
      actions.status();
    } else if (signal == SIGINT && stopping) {
      actions.leave();
    } else if (signal == SIGHUP && !stopping && actions.hang_up && actions.hang_up()) {
      continue;
    } else if (!stopping) {
      stopping = true;
      actions.stop(signal);
    }
  }
}

void reset_signals_for_exec() noexcept {
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGHUP && is_ignored(signal)) continue;
    ::signal(signal, SIG_DFL);  // refused for KILL and STOP, which is well
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace r3
