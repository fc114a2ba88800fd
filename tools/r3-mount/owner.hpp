// SPDX-License-Identifier: Apache-2.0
// USER[:GROUP], names or numbers, as chown(1) takes it; GROUP alone is ":GROUP".
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

namespace r3 {

struct Owner {
  std::optional<uid_t> user;
  std::optional<gid_t> group;
};

// Throws std::invalid_argument for a name that nobody has.
Owner parse_owner(const std::string& text);

// File mode bits in octal, at most 0777.
mode_t parse_mode(const std::string& text);

}  // namespace r3
