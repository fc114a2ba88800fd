// SPDX-License-Identifier: Apache-2.0
// Runs a function in a process of its own that shares this one's memory, but none of its
// descriptors: for system calls on a file or device that this very process serves. They wait for an
// answer that only this process can give, some in a way that no signal ends; a kill -9 would end the
// threads that answer, but not the one that waits, whose descriptors then keep the device alive for
// ever. Apart, a kill -9 ends the whole process, its descriptors close, and that ends the wait.
#pragma once

#include <functional>

namespace r3 {

// Returns what `body` returned: 0 or an errno. `body` runs on a small stack (kilobytes), must not
// throw, sees no descriptor above 2, and those that it opens are closed after it. The calling thread
// stands still until then, unless the process is killed; all others go on. Returns an errno too if
// there can be no process, ECHILD if it was killed. Any thread may call.
int run_apart(const std::function<int()>& body) noexcept;

}  // namespace r3
