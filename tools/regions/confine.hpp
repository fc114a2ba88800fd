// SPDX-License-Identifier: Apache-2.0
// A region helper talks to the network and parses what comes from there: after it has opened what it needs, it
// gives up the rest. No new privileges, no other programs, no writing and (but for what name resolution and
// TLS read) no reading of files, no other processes' memory, no mounts and no modules.
// Sources: landlock(7), prctl(2) PR_SET_NO_NEW_PRIVS, seccomp(2).
#pragma once

namespace r3 {

// For the whole process, so before it starts threads. What the kernel does not know is left out silently: it
// is one more wall, not the only one. Throws only when the kernel refuses what it knows.
void confine();

}  // namespace r3
