// SPDX-License-Identifier: Apache-2.0
// The files of a directory region: which directory and which file holds a chunk, and some of
// them kept open, within a bound for all, the ones used longest ago closed first. Chunk N is the file
//
//   %010x / %03x     (N / 4096, N % 4096), for example 0000000000/02a
//
// A file that is missing or empty is a chunk of zeroes; any other length than the chunk's is damage and
// gives EIO. This makes creation atomic with nothing to clean up: a file is empty when it appears and
// gets its whole length in one step. Knows files, not the ranges in them; any thread may call anything,
// but who creates or removes a chunk must be alone with it.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "libcommon/base/fd.hpp"
#include "libcommon/storage/open_files.hpp"

namespace r3 {

using SharedFd = std::shared_ptr<const Fd>;

class ChunkStore : private OpenFiles::Keeper {
 public:
  static constexpr std::uint64_t kChunksInFolder = 4096;

  // `root`: the directory, open. `files`: bounds those that are kept open (those in use come on top).
  ChunkStore(Fd root, std::string name, bool read_only, std::shared_ptr<OpenFiles> files);
  virtual ~ChunkStore();

  // The file of a chunk that is `length` bytes long; empty if there is none.
  SharedFd open(std::uint64_t chunk, std::uint64_t length);
  // The same if it is open already; never waits.
  SharedFd open_already(std::uint64_t chunk);
  SharedFd create(std::uint64_t chunk, std::uint64_t length);
  void remove(std::uint64_t chunk);

  // Whether there is a file with something in it, without opening it.
  bool present(std::uint64_t chunk);
  bool folder_present(std::uint64_t chunk);

  // Makes names that appeared or vanished in the folder of this chunk durable, and the folder's own.
  void sync_folder(std::uint64_t chunk);
  // Makes everything on the file system durable, which is faster than many files one by one.
  void sync_all();

  std::size_t open_now() override;
  std::string file_name(std::uint64_t chunk) const;

 private:
  struct Entry {
    std::uint64_t chunk;
    SharedFd file;
  };
  // Invalid if the folder is not there.
  Fd open_folder(std::uint64_t chunk);
  Fd make_folder(std::uint64_t chunk);
  SharedFd keep(std::uint64_t chunk, Fd file);
  void forget(std::uint64_t chunk);
  void close_oldest() override;

  const Fd root_;
  const std::string name_;
  const bool read_only_;
  const std::shared_ptr<OpenFiles> files_;

  std::mutex mutex_;
  std::unordered_set<std::uint64_t> durable_folders_;  // guarded by mutex_
  std::list<Entry> entries_;  // guarded by mutex_; last used first
  std::unordered_map<std::uint64_t, std::list<Entry>::iterator> by_chunk_;  // guarded by mutex_
};

}  // namespace r3
