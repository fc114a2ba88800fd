// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/sigbus.hpp"

#include <signal.h>

#include "libcommon/base/error.hpp"

namespace r3::sync {

thread_local sigjmp_buf* detail::guarded_from = nullptr;

namespace {

void on_sigbus(int signal) {
  if (detail::guarded_from) {
    // ThreadSanitizer blocks all signals while a handler runs, whatever sa_flags says.
    sigset_t bus;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    ::pthread_sigmask(SIG_UNBLOCK, &bus, nullptr);
    siglongjmp(*detail::guarded_from, 1);
  }
  ::signal(signal, SIG_DFL);  // the access is tried again, and ends the process
}

}  // namespace

void install_sigbus_guard() {
  struct sigaction action{};
  action.sa_handler = on_sigbus;
  action.sa_flags = SA_NODEFER;  // the mask stays as it is over siglongjmp
  check(::sigaction(SIGBUS, &action, nullptr), "sigaction SIGBUS");
}

}  // namespace r3::sync
