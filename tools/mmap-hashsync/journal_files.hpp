// SPDX-License-Identifier: Apache-2.0
// How the epoch of a journal gets into the files of a directory. It may be done again, any number of times.
#pragma once

#include "tools/mmap-hashsync/journal.hpp"

namespace r3::sync {

inline constexpr std::string_view kJournalPrefix = ".mmap-hashsync.journal-";

// Writes a whole epoch into the files, durably.
void apply_contents(const Contents& contents, const Directory& directory, bool sparse);

}  // namespace r3::sync
