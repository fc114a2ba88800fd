// SPDX-License-Identifier: Apache-2.0
// A disk whose power may be cut. It keeps only what was synced; of the rest it may have kept any part. The
// calls of this process that change files below a directory are recorded on their way to the system, with what
// each sync makes durable, and any state that a power cut could have left can be put together from that.
// One thread at a time.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3::test {

inline constexpr std::uint64_t kDiskPage = 4096;

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
  explicit Disk(const std::string& root) : root_(root + "/") { number_[inode_of(AT_FDCWD, root.c_str())] = 0; }

  // What was made by a call that is not recorded (openat2(2)) is met here for the first time.
  bool knows(int fd) {
    if (node(fd) >= 0) return true;
    const auto path = name_of(fd);
    if (!path.starts_with(root_)) return false;
    const auto slash = path.rfind('/');
    const Fd folder = open_file(path.substr(0, slash), O_RDONLY | O_DIRECTORY);
    if (node(folder.get()) < 0) return false;
    named(folder.get(), path.substr(slash + 1));
    return true;
  }
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
  // Its number may be another file's next.
  void forget(int folder, const std::string& leaf) {
    struct stat status{};
    if (::fstatat(folder, leaf.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) number_.erase(status.st_ino);
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
      const auto part = bytes.first(std::min<std::uint64_t>(kDiskPage - offset % kDiskPage, bytes.size()));
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

  static std::string name_of(int fd) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), gone);
  }

  static ino_t inode_of(int folder, const char* leaf) {
    struct stat status{};
    check(::fstatat(folder, leaf, &status, 0), leaf);
    return status.st_ino;
  }

  template <class Files, class Folders>
  void put(int folder, const std::string& at, Files& files, Folders& folders) const {
    std::filesystem::create_directory(at);
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

  const std::string root_;
  int nodes_ = 1;
  std::set<int> is_folder_{0};
  std::map<ino_t, int> number_;
  std::vector<Change> changes_;
};

extern Disk* disk;  // while a test records

}  // namespace r3::test
