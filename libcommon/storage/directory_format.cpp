// SPDX-License-Identifier: Apache-2.0
#include "libcommon/storage/directory_format.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <limits>
#include <memory>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr std::string_view kMagic = "r3 directory region 1\n";
constexpr auto kFormat = "region";
constexpr auto kNewFormat = "region.new";  // left by a process that was killed while making it
constexpr auto kLock = "lock";
constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();

Fd open_at(const Fd& directory, const char* leaf, int flags) {
  return Fd(::openat(directory.get(), leaf, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
}

bool holds_only_ours(const Fd& directory, const std::string& path) {
  Fd listed(check(::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), path));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(listed.get()), ::closedir);
  if (!stream) fail(errno, path);
  listed.release();
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && name != kNewFormat && name != kLock) return false;
  }
  return true;
}

Fd take_lock(const Fd& directory, const std::string& path, bool read_only) {
  Fd lock = open_at(directory, kLock, read_only ? O_RDONLY : O_RDWR | O_CREAT);
  if (!lock.valid()) {
    if (read_only && errno == ENOENT) return lock;
    fail(errno, path + "/" + kLock);
  }
  if (::flock(lock.get(), (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
    fail(errno == EWOULDBLOCK ? EBUSY : errno, path + ": another process has it open");
  return lock;
}

// "NAME NUMBER\n" at the start of `text`.
std::uint64_t take_line(std::string_view& text, std::string_view name, const std::string& path) {
  const auto end = text.find('\n');
  if (end == text.npos || !text.starts_with(name) || end == name.size())
    fail(EINVAL, path + "/" + kFormat + ": damaged");
  const auto value = parse_number(text.substr(name.size(), end - name.size()), kMost);
  text.remove_prefix(end + 1);
  return value;
}

void check_shape(std::uint64_t size, std::uint64_t chunk, const std::string& path) {
  if (!std::has_single_bit(chunk) || chunk < 4 * KiB || chunk > 64 * MiB)
    throw std::invalid_argument(path + ": a chunk size is a power of two from 4K to 64M, not " +
                                std::to_string(chunk));
  if (size > kMost) throw std::invalid_argument(path + ": a size is at most 8 EiB");
}

void read_format(const Fd& format, OpenedDirectory& opened, const std::string& path) {
  std::string text(256, '\0');
  text.resize(pread_full(format.get(), std::as_writable_bytes(std::span(text)), 0, path));
  std::string_view rest = text;
  if (!rest.starts_with(kMagic)) fail(EINVAL, path + "/" + kFormat + ": not a region");
  rest.remove_prefix(kMagic.size());
  opened.size = take_line(rest, "size ", path);
  opened.chunk_size = take_line(rest, "chunk ", path);
  check_shape(opened.size, opened.chunk_size, path);
}

// The name of the directory itself, which may be new.
void sync_parent(const Fd& directory, const std::string& path) {
  const Fd parent(::openat(directory.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.valid()) {
    check(::fsync(parent.get()), path + "/..");
  } else {
    check(::syncfs(directory.get()), path);  // a directory that we may not list
  }
}

// The whole file appears at once, and is durable before anything else is put there.
void write_format(const OpenedDirectory& opened, const std::string& path) {
  sync_parent(opened.directory, path);
  const Fd format = open_at(opened.directory, kNewFormat, O_WRONLY | O_CREAT | O_TRUNC);
  check(format.get(), path + "/" + kNewFormat);
  const std::string text = std::string(kMagic) + "size " + std::to_string(opened.size) +
                           "\nchunk " + std::to_string(opened.chunk_size) + "\n";
  write_full(format.get(), as_bytes(text), path);
  check(::fsync(format.get()), path);
  check(::renameat(opened.directory.get(), kNewFormat, opened.directory.get(), kFormat), path);
  check(::fsync(opened.directory.get()), path);
}

void compare(const OpenedDirectory& found, const DirectoryOptions& wanted, const std::string& path) {
  const auto differs = [&](const char* what, std::uint64_t is, std::uint64_t asked) {
    throw std::invalid_argument(path + ": its " + what + " is " + std::to_string(is) + ", not " +
                                std::to_string(asked));
  };
  if (wanted.size && *wanted.size != found.size) differs("size", found.size, *wanted.size);
  if (wanted.chunk_size && *wanted.chunk_size != found.chunk_size)
    differs("chunk size", found.chunk_size, *wanted.chunk_size);
}

[[noreturn]] void ask_for_size(const std::string& path) {
  throw std::invalid_argument(path + ": a new region needs a size (?size=SIZE)");
}

Fd open_or_make_directory(const std::string& path, bool may_make) {
  if (may_make && ::mkdir(path.c_str(), 0777) < 0 && errno != EEXIST) fail(errno, path);
  return open_file(path, O_RDONLY | O_DIRECTORY);
}

}  // namespace

OpenedDirectory open_region_directory(const std::string& path, const DirectoryOptions& options) {
  const auto chunk_size = options.chunk_size.value_or(64 * KiB);
  check_shape(options.size.value_or(0), chunk_size, path);
  const bool may_make = options.size && !options.read_only;

  if (!may_make && !options.read_only && ::access(path.c_str(), F_OK) < 0 && errno == ENOENT)
    ask_for_size(path);

  OpenedDirectory opened;
  opened.directory = open_or_make_directory(path, may_make);
  Fd format = open_at(opened.directory, kFormat, O_RDONLY);
  if (!format.valid()) {
    if (errno != ENOENT) fail(errno, path + "/" + kFormat);
    if (!holds_only_ours(opened.directory, path))
      fail(ENOTEMPTY, path + ": holds something else than a region");
    if (options.read_only) fail(ENOENT, path + "/" + kFormat);
    if (!may_make) ask_for_size(path);
  }
  opened.lock = take_lock(opened.directory, path, options.read_only);
  // Another process may have made it before it let go of the lock.
  if (!format.valid()) format = open_at(opened.directory, kFormat, O_RDONLY);
  if (format.valid()) {
    read_format(format, opened, path);
    compare(opened, options, path);
  } else {
    opened.size = *options.size;
    opened.chunk_size = chunk_size;
    write_format(opened, path);
  }
  return opened;
}

}  // namespace r3
