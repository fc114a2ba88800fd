// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-key/secret_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

// Removes the file unless it has been put in its place.
struct Temporary {
  ~Temporary() {
    if (!path.empty()) ::unlink(path.c_str());
  }
  std::string path;
};

}  // namespace

void write_secret_file(const std::string& path, std::string_view text, bool replace) {
  // Asked first for a clear message; link() below is what makes sure.
  struct stat found;
  if (!replace && ::lstat(path.c_str(), &found) == 0)
    fail(EEXIST, path + ": not replaced without --force");
  std::string name = path + ".XXXXXX";
  const Fd file(check(::mkostemp(name.data(), O_CLOEXEC), path));  // mode 0600
  Temporary temporary{name};
  write_full(file.get(), as_bytes(text), path);
  check(::fsync(file.get()), path);
  if (replace) {
    check(::rename(name.c_str(), path.c_str()), path);
    temporary.path.clear();
  } else {
    check(::link(name.c_str(), path.c_str()), path);
  }
}

}  // namespace r3
