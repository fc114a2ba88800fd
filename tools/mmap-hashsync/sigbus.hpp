// SPDX-License-Identifier: Apache-2.0
// Reading from a mapping of a file that somebody else may cut short at any moment: SIGBUS becomes a value.
#pragma once

#include <setjmp.h>

namespace r3::sync {

// Once in a process, before the first guard. A SIGBUS outside of any guard ends the process as ever.
void install_sigbus_guard();

namespace detail {
extern thread_local sigjmp_buf* guarded_from;
}

// Runs `read`, which may only touch plain memory (nothing is unwound): false if the file ended under it.
template <class Read>
__attribute__((noinline)) bool reads_without_sigbus(const Read& read) {
  sigjmp_buf here;
  const bool whole = sigsetjmp(here, 0) == 0;
  if (whole) {
    detail::guarded_from = &here;
    read();
  }
  detail::guarded_from = nullptr;
  return whole;
}

}  // namespace r3::sync
