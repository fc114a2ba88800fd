// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/whole_file.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

// A file of a name that nobody else has; removed unless it has been put in its place.
class Part {
 public:
  Part(const std::string& path, unsigned mode) {
    std::uint64_t random = 0;
    check(::getrandom(&random, sizeof random, 0), "getrandom");
    char suffix[20];
    std::snprintf(suffix, sizeof suffix, ".%016llx", static_cast<unsigned long long>(random));
    const std::string name = path + suffix;
    // Who reads the message knows the path, not this name.
    file_.reset(check(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode), path));
    name_ = name;
  }
  ~Part() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  int fd() const { return file_.get(); }
  void put(const std::string& path, Existing existing) {
    if (existing == Existing::keep) {
      check(::link(name_.c_str(), path.c_str()), path);
      return;
    }
    check(::rename(name_.c_str(), path.c_str()), path);
    name_.clear();
  }

 private:
  Fd file_;
  std::string name_;
};

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// What a symbolic link leads to, if it leads to something.
std::string behind_links(const std::string& path) {
  char resolved[PATH_MAX];
  return ::realpath(path.c_str(), resolved) != nullptr ? resolved : path;
}

void refuse_what_is_no_file(const std::string& path) {
  struct stat found;
  if (::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode))
    fail(EINVAL, path + ": is no regular file");
}

}  // namespace

void write_whole_file(const std::string& path, std::string_view text, unsigned mode,
                      Existing existing) {
  refuse_what_is_no_file(path);
  const std::string target = existing == Existing::replace ? behind_links(path) : path;
  Part part(target, mode);
  write_full(part.fd(), as_bytes(text), path);
  check(::fsync(part.fd()), path);
  part.put(target, existing);
  const Fd directory = open_file(directory_of(target), O_RDONLY | O_DIRECTORY);
  check(::fsync(directory.get()), directory_of(target));
}

void check_whole_file(const std::string& path) {
  refuse_what_is_no_file(path);
  const std::string directory = directory_of(behind_links(path));
  check(::access(directory.c_str(), W_OK | X_OK), path);
}

}  // namespace r3
