// SPDX-License-Identifier: Apache-2.0
// A file that others write while it is read: one mapping, kept from round to round (far the fastest way to
// look at all of it), and reads that survive the file being cut short. What lies behind the end reads as
// zero. Knows nothing of hashes.
#pragma once

#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3::sync {

class FileView {
 public:
  FileView() = default;
  // Throws for what is neither a file nor a block device. `name` is for errors.
  FileView(Fd fd, std::string name);

  int fd() const { return fd_.get(); }
  const std::string& name() const { return name_; }
  bool valid() const { return fd_.valid(); }

  // Asks for the size again, and maps what is not mapped yet. Not while another thread reads.
  std::uint64_t refresh();
  // For who looks once: reading is faster then than mapping afresh.
  void do_not_map() { mappable_ = false; }
  std::uint64_t size() const { return size_; }  // at the last refresh()

  // The mapped bytes from `offset` on: only to be touched under a SIGBUS guard. Null: not mapped.
  const std::byte* mapped(std::uint64_t offset) const;
  // Copies what is there now; what is behind the end is zero. Never through the mapping.
  void read(std::uint64_t offset, Bytes into) const;
  // Whether looking for holes can find any.
  bool may_have_holes() const { return sparse_; }
  // Appends the extents of the range.
  void extents(std::uint64_t offset, std::uint64_t length, std::vector<Extent>& found) const;

 private:
  Fd fd_;
  std::string name_;
  Mapping mapping_;
  std::uint64_t size_ = 0;
  bool sparse_ = false;
  bool mappable_ = true;
};

// The file of the path, and whether a path still leads to it.
struct Identity {
  dev_t device = 0;
  ino_t inode = 0;
  friend bool operator==(const Identity&, const Identity&) = default;
};
Identity identity_of(int fd, const std::string& name);

}  // namespace r3::sync
