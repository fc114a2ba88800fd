// SPDX-License-Identifier: Apache-2.0
// Runs a function while another process stands still, for looking at memory that it never stops writing
// to. The process learns nothing of it: no signal, no SIGCHLD for its parent, system calls go on (few of
// them, as epoll_wait(2), say EINTR, which signal(7) allows for any stop). Source: ptrace(2).
#pragma once

#include <sys/types.h>

#include <functional>

namespace r3 {

// `body` runs in a thread of its own, once every thread of `process` is stopped; what it throws comes
// from here. A thread that is within a system call and does not come out of it in 0.2 s is not waited for:
// it runs none of the program's code, and stops before it does. Needs what process_vm_readv(2) needs, and
// that nobody else traces the process: throws EPERM. Threads that are started by calls made from outside
// (another process with the same memory) are not stopped. If this process is killed meanwhile, the other
// goes on.
void while_still(pid_t process, const std::function<void()>& body);

}  // namespace r3
