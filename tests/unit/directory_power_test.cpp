// SPDX-License-Identifier: Apache-2.0
// A power cut under a directory region. A disk keeps only what was synced; of the rest it may have kept
// any part. The calls that change files are recorded here on their way to the system, with what each
// sync makes durable; after every operation the files that a power cut could have left are put together
// (the worst case, and random ones), opened, and compared with what was written and flushed. Processes
// that are killed between two calls are mixed in.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/directory.hpp"
#include "tests/unit/backend_suite.hpp"

namespace r3::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kChunk = 2 * kPage;
constexpr std::uint64_t kPages = 24;

// One step of a change: a page of data, a length, or names in a directory. It happened as a whole or not
// at all.
struct Change {
  int node = 0;
  std::uint64_t offset = 0;
  std::vector<std::byte> data = {};
  std::optional<std::uint64_t> length = {};
  std::map<std::string, int> names = {};  // -1: none
  bool durable = false;
};

class Disk {
 public:
  explicit Disk(const std::string& root) { number_[inode_of(AT_FDCWD, root.c_str())] = 0; }

  bool knows(int fd) const { return node(fd) >= 0; }
  int node(int fd) const {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return -1;
    const auto found = number_.find(status.st_ino);
    return found == number_.end() ? -1 : found->second;
  }

  void named(int folder, const std::string& leaf) {
    const int made = nodes_++;
    number_[inode_of(folder, leaf.c_str())] = made;
    changes_.push_back({.node = node(folder), .names = {{leaf, made}}});
  }
  void removed(int folder, const std::string& leaf) {
    changes_.push_back({.node = node(folder), .names = {{leaf, -1}}});
  }
  void renamed(int folder, const std::string& from, const std::string& to) {
    const int moved = number_.at(inode_of(folder, to.c_str()));
    changes_.push_back({.node = node(folder), .names = {{from, -1}, {to, moved}}});
  }
  void written(int fd, ConstBytes bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min<std::uint64_t>(kPage - offset % kPage, bytes.size()));
      changes_.push_back({.node = node(fd), .offset = offset, .data = {part.begin(), part.end()}});
      offset += part.size();
      bytes = bytes.subspan(part.size());
    }
  }
  void resized(int fd, std::uint64_t length) {
    changes_.push_back({.node = node(fd), .length = length});
  }
  void synced(int fd) {
    const int its = node(fd);
    for (Change& change : changes_) change.durable |= change.node == its;
  }
  void synced_all() {
    for (Change& change : changes_) change.durable = true;
  }

  // What is there if the power fails now: what is durable, and what `also` says of the rest.
  void build(const std::string& at, const std::function<bool()>& also) const {
    std::map<int, std::vector<std::byte>> files;
    std::map<int, std::map<std::string, int>> folders;
    for (const Change& change : kept(also)) {
      if (change.length) files[change.node].resize(*change.length);
      if (!change.data.empty()) {
        auto& file = files[change.node];
        file.resize(std::max(file.size(), change.offset + change.data.size()));
        std::ranges::copy(change.data, file.begin() + static_cast<long>(change.offset));
      }
      for (const auto& [leaf, target] : change.names) folders[change.node][leaf] = target;
    }
    put(0, at, files, folders);
  }

  void last_is_folder() { is_folder_.insert(nodes_ - 1); }

  // How many more calls succeed; then the process is as good as killed.
  std::uint64_t calls_left = UINT64_MAX;
  bool allow() { return calls_left > 0 && calls_left-- > 0; }

 private:
  // A file's length is kept with what was written behind it: every journal keeps that order.
  std::vector<Change> kept(const std::function<bool()>& also) const {
    std::vector<Change> chosen;
    std::set<int> with_data;
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      const bool needed = change->length && with_data.contains(change->node);
      if (!change->durable && !needed && !also()) continue;
      if (!change->data.empty()) with_data.insert(change->node);
      chosen.push_back(*change);
    }
    std::ranges::reverse(chosen);
    return chosen;
  }

  static ino_t inode_of(int folder, const char* leaf) {
    struct stat status{};
    check(::fstatat(folder, leaf, &status, 0), leaf);
    return status.st_ino;
  }

  template <class Files, class Folders>
  void put(int folder, const std::string& at, Files& files, Folders& folders) const {
    fs::create_directory(at);
    for (const auto& [leaf, target] : folders[folder]) {
      if (target < 0) continue;
      const auto path = at + "/" + leaf;
      if (is_folder_.contains(target)) {
        put(target, path, files, folders);
      } else {
        const Fd file = open_file(path, O_RDWR | O_CREAT);
        write_full(file.get(), files[target]);
      }
    }
  }

  int nodes_ = 1;
  std::set<int> is_folder_{0};
  std::map<ino_t, int> number_;
  std::vector<Change> changes_;
};

Disk* disk = nullptr;  // while a test records; it has one thread

// Passes a call on, unless the process is as good as killed.
template <class... Arguments>
long pass(bool counts, long number, Arguments... arguments) {
  if (!counts || disk->allow()) return ::syscall(number, arguments...);
  errno = EIO;
  return -1;
}

}  // namespace

// The system's names for what the region calls, with 64-bit offsets.
extern "C" {
int r3_openat(int, const char*, int, ...) __asm__("openat64");
ssize_t r3_pwrite(int, const void*, size_t, off_t) __asm__("pwrite64");
int r3_ftruncate(int, off_t) __asm__("ftruncate64");
int r3_fallocate(int, int, off_t, off_t) __asm__("fallocate64");

int r3_openat(int folder, const char* leaf, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  const bool makes = disk && (flags & O_CREAT) && disk->knows(folder) &&
                     ::syscall(SYS_faccessat, folder, leaf, F_OK) != 0;
  const long fd = pass(makes, SYS_openat, folder, leaf, flags, mode);
  if (fd >= 0 && makes) disk->named(folder, leaf);
  return static_cast<int>(fd);
}

ssize_t r3_pwrite(int fd, const void* data, size_t length, off_t offset) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_pwrite64, fd, data, length, offset);
  if (ours && done > 0)
    disk->written(fd, {static_cast<const std::byte*>(data), static_cast<std::size_t>(done)},
                  static_cast<std::uint64_t>(offset));
  return done;
}

ssize_t write(int fd, const void* data, size_t length) {
  const bool ours = disk && disk->knows(fd);
  const auto at = ours ? ::syscall(SYS_lseek, fd, 0, SEEK_CUR) : 0;
  const long done = pass(ours, SYS_write, fd, data, length);
  if (ours && done > 0)
    disk->written(fd, {static_cast<const std::byte*>(data), static_cast<std::size_t>(done)},
                  static_cast<std::uint64_t>(at));
  return done;
}

int r3_ftruncate(int fd, off_t length) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_ftruncate, fd, length);
  if (ours && done == 0) disk->resized(fd, static_cast<std::uint64_t>(length));
  return static_cast<int>(done);
}

// Holes are zeroes that are written, as far as a power cut is concerned.
int r3_fallocate(int fd, int mode, off_t offset, off_t length) {
  const bool ours = disk && disk->knows(fd);
  const long done = pass(ours, SYS_fallocate, fd, mode, offset, length);
  if (ours && done == 0)
    disk->written(fd, std::vector<std::byte>(static_cast<std::size_t>(length)),
                  static_cast<std::uint64_t>(offset));
  return static_cast<int>(done);
}

int mkdir(const char* path, mode_t mode) noexcept {
  const Fd folder(::open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY));
  const bool ours = disk && folder.valid() && disk->knows(folder.get());
  const long done = pass(ours, SYS_mkdir, path, mode);
  if (ours && done == 0) {
    disk->named(folder.get(), fs::path(path).filename());
    disk->last_is_folder();
  }
  return static_cast<int>(done);
}

int mkdirat(int folder, const char* leaf, mode_t mode) noexcept {
  const bool ours = disk && disk->knows(folder);
  const long done = pass(ours, SYS_mkdirat, folder, leaf, mode);
  if (ours && done == 0) {
    disk->named(folder, leaf);
    disk->last_is_folder();
  }
  return static_cast<int>(done);
}

int unlinkat(int folder, const char* leaf, int flags) noexcept {
  const bool ours = disk && disk->knows(folder);
  const long done = pass(ours, SYS_unlinkat, folder, leaf, flags);
  if (ours && done == 0) disk->removed(folder, leaf);
  return static_cast<int>(done);
}

int renameat(int folder, const char* from, int to_folder, const char* to) noexcept {
  const bool ours = disk && disk->knows(folder);
  const long done = pass(ours, SYS_renameat, folder, from, to_folder, to);
  if (ours && done == 0) disk->renamed(folder, from, to);
  return static_cast<int>(done);
}

int fsync(int fd) {
  const bool ours = disk && disk->knows(fd);
  const long done = ours ? (disk->allow() ? 0 : -1) : ::syscall(SYS_fsync, fd);
  if (ours && done == 0) disk->synced(fd);
  if (ours && done != 0) errno = EIO;
  return static_cast<int>(done);
}

int fdatasync(int fd) { return ::fsync(fd); }

int syncfs(int fd) noexcept {
  const bool ours = disk && disk->knows(fd);
  if (!ours) return static_cast<int>(::syscall(SYS_syncfs, fd));
  if (disk->allow()) return disk->synced_all(), 0;
  errno = EIO;
  return -1;
}
}  // extern "C"

namespace {

class DirectoryPower : public testing::TestWithParam<unsigned> {
 protected:
  DirectoryPower() : random_(GetParam()) {
    fs::create_directory(root_);
    fs::create_directory(parent_.path() + "/after");
    recorded_.emplace(root_);
    disk = &*recorded_;
  }
  ~DirectoryPower() override { disk = nullptr; }

  // What a killed process was doing is done or not.
  void open() {
    region_.emplace(root_ + "/region", DirectoryOptions{kPages * kPage, kChunk, false, 3});
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const auto value = load_le<std::uint64_t>(read_bytes(*region_, page * kPage, 8).data());
      ASSERT_TRUE(std::ranges::count(possible_[page], value)) << "page " << page;
      possible_[page].push_back(value);
    }
  }

  // A write, a zeroing or a flush; false if the process was killed in it.
  bool step() {
    const auto first = random_() % kPages;
    const auto count = std::min(1 + random_() % 5, kPages - first);
    const auto kind = random_() % 8;
    const std::uint64_t value = kind < 2 ? 0 : ++last_;
    if (kind > 1 && kind < 4) return flush();
    for (auto page = first; page < first + count; ++page) possible_[page].push_back(value);
    try {
      const std::vector<std::uint64_t> words(count * kPage / 8, value);
      if (value == 0) region_->zero_at(first * kPage, count * kPage);
      else region_->write_at(std::as_bytes(std::span(words)), first * kPage);
    } catch (const std::system_error&) {
      return false;
    }
    return true;
  }

  bool flush() {
    try {
      region_->flush();
    } catch (const std::system_error&) {
      return false;
    }
    for (auto& values : possible_) values = {values.back()};
    return true;
  }

  void cut_the_power(const std::function<bool()>& also) {
    const auto after = parent_.path() + "/after/" + std::to_string(++cuts_);
    disk = nullptr;
    recorded_->build(after, also);
    {
      DirectoryBackend found(after + "/region", {kPages * kPage, kChunk, false, 3});
      for (std::uint64_t page = 0; page < kPages; ++page) {
        const auto bytes = read_bytes(found, page * kPage, kPage);
        const auto value = load_le<std::uint64_t>(bytes.data());
        ASSERT_TRUE(std::equal(bytes.begin() + 8, bytes.end(), bytes.begin())) << "torn " << page;
        const auto& allowed = possible_[page];
        ASSERT_TRUE(std::ranges::count(allowed, value))
            << "page " << page << " holds " << value << ", flushed was " << allowed.front();
      }
    }
    fs::remove_all(after);
    disk = &*recorded_;
  }

  TemporaryDirectory parent_;
  const std::string root_ = parent_.path() + "/disk";
  std::optional<Disk> recorded_;
  std::optional<DirectoryBackend> region_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> possible_[kPages];  // what may be there; the last is what a flush keeps
  std::uint64_t last_ = 0;
  int cuts_ = 0;
};

TEST_P(DirectoryPower, WhatWasFlushedIsThereAfterwards) {
  for (auto& values : possible_) values = {0};
  for (int life = 0; life < 4; ++life) {
    disk->calls_left = random_() % 60;
    try {
      open();
      for (int i = 0; i < 20 && step(); ++i) {
        cut_the_power([] { return false; });
        if (!HasFatalFailure()) cut_the_power([this] { return random_() % 2 == 0; });
        if (HasFatalFailure()) return;
      }
    } catch (const std::system_error&) {  // killed while it opened
    }
    region_.reset();
  }
  EXPECT_GT(cuts_, 10);
}

INSTANTIATE_TEST_SUITE_P(Seeds, DirectoryPower, testing::Range(1u, 6u));

}  // namespace
}  // namespace r3::test
