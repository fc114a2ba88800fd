// SPDX-License-Identifier: Apache-2.0
// What a process needs that the kernel's paging waits for (it serves the swap device, or is on the way to it):
// if it had to wait for memory that only it can free, the machine would stand still. So nothing of it is ever
// paged out, what it allocates later is taken from memory that it already has, the kernel does no I/O for the
// sake of memory inside its system calls, and it is not the one that is killed when memory runs out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace r3 {

// First thing in main(), before any thread: one heap for all threads, which never gives memory back, and small
// stacks. A thread's own heap would be grown, so mapped anew, while the paging waits.
void plan_to_be_resident() noexcept;

// The rest; what is started later (threads, commands) has the same I/O rule and score. `reserve` bytes of the
// heap are made ready. Returns what the system did not allow, a line each that says what it is good for.
std::vector<std::string> become_resident(std::uint64_t reserve);

// In a child between fork and exec, or one that does not exec: it is an ordinary process again. Safe there:
// system calls only. Does nothing in a process that did not become resident.
void be_ordinary_again() noexcept;

}  // namespace r3
