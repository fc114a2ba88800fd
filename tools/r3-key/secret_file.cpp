// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-key/secret_file.hpp"

#include <sys/stat.h>

#include "libcommon/base/error.hpp"
#include "libcommon/base/whole_file.hpp"

namespace r3 {

void write_secret_file(const std::string& path, std::string_view text, bool replace) {
  // Asked first for a clear message; Existing::keep is what makes sure.
  struct stat found;
  if (!replace && ::lstat(path.c_str(), &found) == 0)
    fail(EEXIST, path + ": not replaced without --force");
  write_whole_file(path, text, 0600, replace ? Existing::replace : Existing::keep);
}

}  // namespace r3
