// SPDX-License-Identifier: Apache-2.0
// One file of a destination, beneath its directory, as it is written to. Knows neither chunks' hashes nor
// epochs.
#pragma once

#include "tools/mmap-hashsync/directory.hpp"
#include "tools/mmap-hashsync/file_view.hpp"
#include "tools/mmap-hashsync/inbox.hpp"
#include "tools/mmap-hashsync/scan.hpp"

namespace r3::sync {

class LandingFile {
 public:
  // Nothing is opened yet. With `sparse`, zeroes become holes.
  LandingFile(const Directory& directory, std::string name, bool sparse);

  const std::string& name() const { return name_; }
  std::string path() const { return directory_.path_of(name_); }

  // False if there is no such file.
  bool open_existing();
  // Opens it, and makes it if it is not there.
  void create();
  bool is_open() const { return fd_.valid(); }
  int fd() const { return fd_.get(); }
  std::uint64_t size() const;

  void write(std::uint64_t offset, ConstBytes bytes);
  void zero(std::uint64_t offset, std::uint64_t length);
  // A block device keeps its size, which has to suffice.
  void set_size(std::uint64_t size);
  void sync();
  void close() { fd_.reset(); }

 private:
  const Directory& directory_;
  const std::string name_;
  const bool sparse_;
  Fd fd_;
  bool regular_ = true;
  bool entry_durable_ = false;  // who made it may have been killed before that
};

// What the file holds, cut or continued by zeroes to the geometry; a file that is not there is zeroes.
HashTable hash_of(const Scan& scan, LandingFile& file, const Geometry& geometry);

// Calls write(offset, length, where in the bytes) for chunks that follow each other, as one.
template <class Write>
void for_each_run(std::span<const Entry> entries, const Geometry& geometry, const Write& write) {
  std::uint64_t offset = 0, length = 0, begin = 0, at = 0;
  for (const Entry& entry : entries) {
    const auto size = geometry.length(entry.index);
    if (length > 0 && geometry.offset(entry.index) != offset + length) {
      write(offset, length, begin);
      length = 0;
    }
    if (length == 0) offset = geometry.offset(entry.index), begin = at;
    length += size;
    at += size;
  }
  if (length > 0) write(offset, length, begin);
}

void write_chunks(LandingFile& file, const Geometry& geometry, const Arrival& chunks);

}  // namespace r3::sync
