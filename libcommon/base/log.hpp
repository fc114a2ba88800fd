// SPDX-License-Identifier: Apache-2.0
// What a tool says on stderr: "tool: what: reason", "tool: warning: ...", "tool: hint: ...". One line
// each, lower case, no full stop, no time, never a secret. stderr belongs to the whole process, and so
// does how much is said there. Any thread may call; lines never mix.
#pragma once

#include <string_view>

namespace r3 {

enum class Verbosity { quiet, normal, debug };

// Set once by run(), before any thread starts. `name` must live as long as the process.
void set_log(const char* name, Verbosity verbosity) noexcept;
Verbosity verbosity() noexcept;

void log_error(std::string_view text) noexcept;    // always said
void log_warning(std::string_view text) noexcept;  // not with -q
void log_hint(std::string_view text) noexcept;     // not with -q
void log_debug(std::string_view text) noexcept;    // with -v

}  // namespace r3
