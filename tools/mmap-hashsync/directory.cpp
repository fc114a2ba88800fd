// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/directory.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "tools/mmap-hashsync/frame.hpp"

namespace r3::sync {

namespace {

constexpr std::size_t kMostComponent = 255;

[[noreturn]] void refuse(std::string_view name, const char* why) {
  throw ProtocolError("the file name \"" + printable(name) + "\" is refused: " + why);
}

int open_beneath(int directory, const std::string& name, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  how.mode = flags & O_CREAT ? 0666 : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (;;) {
    const auto fd = ::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how);
    // EAGAIN: something was renamed at this moment.
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return static_cast<int>(fd);
  }
}

}  // namespace

void check_name(std::string_view name) {
  if (name.empty()) refuse(name, "it is empty");
  if (name.size() > kMostName) refuse(name, "it is too long");
  if (name.find('\0') != name.npos) refuse(name, "it holds a NUL");
  if (name.front() == '/') refuse(name, "it is absolute");
  for (std::string_view rest = name;;) {
    const auto slash = rest.find('/');
    const auto part = rest.substr(0, slash);
    if (part.empty() || part == "." || part == "..") refuse(name, "it leads elsewhere");
    if (part.size() > kMostComponent) refuse(name, "a part of it is too long");
    if (part.starts_with(kOwnPrefix)) refuse(name, "such names are this tool's own");
    if (slash == rest.npos) return;
    rest.remove_prefix(slash + 1);
  }
}

std::string leaf_of(const std::string& name) {
  const auto slash = name.rfind('/');
  return slash == name.npos ? name : name.substr(slash + 1);
}

std::string parent_name_of(const std::string& name) {
  const auto slash = name.rfind('/');
  return slash == name.npos ? "." : name.substr(0, slash);
}

Directory::Directory(const std::string& path) : path_(path), fd_(open_file(path, O_RDONLY | O_DIRECTORY)) {
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) fail(EBUSY, path + ": another process receives files there");
  fail(errno, path);
}

Fd Directory::open(const std::string& name, int flags) const {
  Fd found(open_beneath(fd_.get(), name, flags));
  if (found.valid()) return found;
  if (errno == ENOENT && !(flags & O_CREAT)) return {};
  if (errno == EXDEV) fail(EXDEV, path_of(name) + " leads out of the directory");
  fail(errno, path_of(name));
}

Fd Directory::parent_of(const std::string& name) const {
  return Fd(check(open_beneath(fd_.get(), parent_name_of(name), O_RDONLY | O_DIRECTORY), path_of(name)));
}

void Directory::make_parents(const std::string& name) const {
  for (auto slash = name.find('/'); slash != name.npos; slash = name.find('/', slash + 1)) {
    const std::string directory = name.substr(0, slash);
    const Fd parent = parent_of(directory);
    if (::mkdirat(parent.get(), leaf_of(directory).c_str(), 0777) == 0)
      check(::fsync(parent.get()), path_of(directory));
    else if (errno != EEXIST) fail(errno, path_of(directory));
  }
}

void Directory::rename(const std::string& from, const std::string& to) const {
  const Fd from_parent = parent_of(from), to_parent = parent_of(to);
  check(::renameat(from_parent.get(), leaf_of(from).c_str(), to_parent.get(), leaf_of(to).c_str()),
        path_of(to));
}

void Directory::remove(const std::string& name) const {
  const Fd parent = parent_of(name);
  if (::unlinkat(parent.get(), leaf_of(name).c_str(), 0) < 0 && errno != ENOENT) fail(errno, path_of(name));
}

void Directory::sync_entry(const std::string& name) const {
  check(::fsync(parent_of(name).get()), path_of(name));
}

}  // namespace r3::sync
