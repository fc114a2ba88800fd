// SPDX-License-Identifier: Apache-2.0
// The journal of a destination: an epoch is written here first, then ended by a commit record, made durable,
// and only then applied to the files. Whatever happens at whatever moment, the files are those of an epoch
// after the next start (mmap-hashsync(1), JOURNAL, has the bytes). A journal holds one epoch.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tools/mmap-hashsync/landing_file.hpp"

namespace r3::sync {

inline constexpr std::size_t kRecordHeader = 48;

enum class RecordType : std::uint32_t {
  file = 1,    // number: the file's from now on; payload: its name
  data = 2,    // at offset; payload: bytes
  zeroes = 3,  // length zero bytes at offset
  size = 4,    // number: a file that the commit is about; offset: its size
  commit = 5,  // the epoch is whole
};

struct Record {
  RecordType type{};
  std::uint32_t number = 0;
  std::uint64_t serial = 0;  // of the epoch: what an earlier one left behind is not taken for this one's
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

void store_record(std::byte* to, const Record& record, ConstBytes payload);
// False if it is no record, or damaged; `payload` are the bytes that follow, of which `record.length` are its
// own for file and data.
bool load_record(ConstBytes from, Record& record, ConstBytes& payload);

// What a journal's bytes amount to: the end of the last good record before or with the commit; whole is false
// without a commit. Changes nothing.
struct Contents {
  std::map<std::uint32_t, std::string> names;
  std::map<std::uint32_t, std::uint64_t> sizes;  // of the files to be changed
  std::vector<std::pair<Record, ConstBytes>> writes;
  bool whole = false;
};
Contents read_journal(ConstBytes bytes);

// Finishes, or forgets, what the journals of a directory hold.
void recover_journals(const Directory& directory);

// One source's epoch, while it is being received.
struct JournaledEpoch {
  JournaledEpoch(const Directory& directory, std::uint64_t instance);
  ~JournaledEpoch();  // removes the journal, unless it was decided

  struct Pending {
    std::uint64_t where;  // in the journal; 0: zeroes
    std::uint64_t length;
  };
  struct File {
    std::uint32_t number;
    std::uint32_t chunk;
    std::map<std::uint64_t, Pending> chunks;
  };

  bool has(const std::string& name) const;
  bool empty() const { return files_.empty(); }
  // Whether decide() was called and apply() has not succeeded since: nothing can be added until it has.
  bool decided() const { return decided_; }
  // The file's part of the epoch, which has chunks of one size.
  File& file(const std::string& name, std::uint32_t chunk);
  void write(File& file, const Geometry& geometry, const Arrival& chunks);
  // Puts what is pending over the bytes of the chunk.
  void overlay(const File& file, std::uint64_t index, Bytes bytes) const;

  // From here on the epoch survives. `sizes`: of all files that belong to it.
  void decide(const std::map<std::uint32_t, std::uint64_t>& sizes);
  // Applies it, durably, and empties the journal.
  void apply(const Directory& directory, bool sparse);
  void forget();

 private:
  std::uint64_t append(Record record, ConstBytes payload);

  const Directory& directory_;
  const std::string name_;
  Fd fd_;
  std::uint64_t end_ = 0;
  std::uint64_t serial_;
  bool decided_ = false;
  std::map<std::string, File> files_;
};

}  // namespace r3::sync
