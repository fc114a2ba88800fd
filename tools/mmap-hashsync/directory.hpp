// SPDX-License-Identifier: Apache-2.0
// The directory that a destination keeps its files in, and the only way to them: names that another machine
// chose are resolved beneath it by the kernel (openat2(2)) and cannot lead out, not by "..", not by a symbolic
// link. One process at a time has it.
#pragma once

#include <string>
#include <string_view>

#include "libcommon/base/fd.hpp"

namespace r3::sync {

// Our own files begin with this; no source may name such a file.
inline constexpr std::string_view kOwnPrefix = ".mmap-hashsync";

// Throws ProtocolError, saying why, for what cannot be the name of a file beneath a directory.
void check_name(std::string_view name);

class Directory {
 public:
  // Throws EBUSY if another process has it.
  explicit Directory(const std::string& path);

  const std::string& path() const { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  int fd() const { return fd_.get(); }

  // As openat(2). Invalid if there is no such file (ENOENT) and O_CREAT was not given.
  Fd open(const std::string& name, int flags) const;
  // Makes the directories that the name needs.
  void make_parents(const std::string& name) const;
  // Replaces `to` by `from`, both names beneath the directory.
  void rename(const std::string& from, const std::string& to) const;
  void remove(const std::string& name) const;
  // The name's entry in its directory is durable.
  void sync_entry(const std::string& name) const;

 private:
  Fd parent_of(const std::string& name) const;

  const std::string path_;
  Fd fd_;
};

// "a/b/c" is "c" in "a/b"; the directory of "c" is ".".
std::string leaf_of(const std::string& name);
std::string parent_name_of(const std::string& name);

}  // namespace r3::sync
