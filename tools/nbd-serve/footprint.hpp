// SPDX-License-Identifier: Apache-2.0
// How much memory an idle server keeps.
#pragma once

namespace r3 {

// Lets go of the pages of code that only the start has used (options, the opening of regions). They are clean and
// stay in the page cache: what is needed again is mapped again at its first use. Source: madvise(2), MADV_DONTNEED;
// dl_iterate_phdr(3).
void release_startup_code() noexcept;

// Before any thread: long payloads come and go, and memory that was freed goes back to the system at once, for all
// threads.
void give_freed_memory_back() noexcept;

}  // namespace r3
