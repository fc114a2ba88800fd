// SPDX-License-Identifier: Apache-2.0
// Where each block of a region is on its tape: an LMDB database in one file. What it holds is always what the tape
// had up to a certain record, never more: it is changed in one transaction for a batch, after the tape has it. Can be
// made anew from the tape. Knows nothing of tapes but positions.
//
// find() and the like may be called by any thread; apply() by one at a time. Throws std::system_error naming the file.
#pragma once

#include <lmdb.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>

#include "libcommon/base/fd.hpp"
#include "tools/regions/reel/record.hpp"

namespace r3 {

struct TapeEntry {
  std::uint64_t position = 0;  // of the record
  std::uint64_t generation = 0;
  std::uint32_t length = 0;
  std::uint32_t damaged = 0;   // 1: what the tape had cannot be read any more
  TapeHash hash{};             // of the data
};
static_assert(sizeof(TapeEntry) == 40);

// How far the index knows the tape.
struct TapeKnown {
  TapeLabel label;
  std::uint64_t generation = 0;  // of the last batch
  std::uint64_t end = 0;         // position behind it
  std::uint64_t sequence = 0;    // of the last record
  std::uint64_t records = 0;     // with data, that were ever written
  std::array<RecordHeader::Before, RecordHeader::kBefore> before{};
};

// By block; none: it reads as zeroes.
using TapeChanges = std::map<std::uint64_t, std::optional<TapeEntry>>;

class TapeIndex {
 public:
  // Opens the file, or makes it, with what `fresh` says. EBUSY if another process has it open, ENOENT if it is not
  // there and no `fresh` is given, EINVAL for what is no index.
  TapeIndex(const std::string& path, const std::optional<TapeKnown>& fresh);

  const std::string& path() const { return path_; }
  const TapeKnown& known() const { return known_; }
  std::uint64_t count() const;  // blocks that are on the tape
  std::optional<TapeEntry> find(std::uint64_t block) const;
  // The first block from `block` on that is on the tape.
  std::optional<std::uint64_t> next(std::uint64_t block) const;
  void each(const std::function<void(std::uint64_t, const TapeEntry&)>& look) const;
  // All of it, durably, or nothing.
  void apply(const TapeChanges& changes, const TapeKnown& known);

 private:
  struct Close {
    void operator()(MDB_env* env) const { ::mdb_env_close(env); }
  };
  class Transaction;
  void check_lmdb(int result) const;
  void load();

  const std::string path_;
  Fd lock_;
  mutable std::shared_mutex mutex_;  // alone while LMDB writes: without its lock file it knows of no readers
  std::unique_ptr<MDB_env, Close> env_;
  MDB_dbi table_ = 0;
  TapeKnown known_;
};

}  // namespace r3
