// SPDX-License-Identifier: Apache-2.0
// A file with a secret comes into being whole, durable and readable by its owner alone, or not at all.
#pragma once

#include <string>
#include <string_view>

namespace r3 {

// Throws std::system_error: EEXIST if there is such a file and `replace` is not given.
void write_secret_file(const std::string& path, std::string_view text, bool replace);

}  // namespace r3
