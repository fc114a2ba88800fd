// SPDX-License-Identifier: Apache-2.0
// What a hub holds: the newest bytes of every chunk, in memory, as the last whole epochs of the sources made
// them, and for each destination what it does not have yet. Epochs come in whole, under one lock; a
// destination that is slow gets the newest bytes later, as one epoch, never a queue of old ones. Any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <shared_mutex>

#include "libcommon/base/fd.hpp"
#include "tools/mmap-hashsync/inbox.hpp"

namespace r3::sync {

// An epoch as it came from a source: frames that can be sent on as they are.
struct HubEpoch {
  struct Sized {
    std::uint64_t size;  // of the file when the frame came: its last chunk was as long as that made it
    Frame frame;
  };
  struct Part {
    std::string name;
    std::uint64_t size = 0;  // at the end
    std::vector<Sized> frames;
  };
  std::vector<Part> parts;
};

// A chunk as it is at some moment.
struct HubChunk {
  Hash hash;
  std::vector<std::byte> bytes;  // none if it is zeroes
};

// What one destination lacks. All of it is guarded by the store's lock.
struct Lack {
  struct File {
    std::set<std::uint64_t> chunks;          // to be sent in the next round
    std::set<std::uint64_t> sending;         // in the round under way, at `geometry`
    std::map<std::uint64_t, HubChunk> aside; // of `sending`: changed since the round began
    Geometry geometry;                       // of the round under way
    std::uint64_t told_size = 0;             // to the destination
  };
  std::map<std::string, File> files;             // that the destination knows
  std::shared_ptr<const HubEpoch> epoch;         // all that it lacks is this epoch
  bool in_round = false;
  Fd changed;                                    // eventfd: readable when there may be something to do
};

class HubStore {
 public:
  explicit HubStore(const Hasher& hasher) : hasher_(hasher) {}

  // One source's side.
  void claim(const Announcement& file);
  void release(const std::string& name);
  HashTable hash(const std::string& name, const Geometry& geometry, const Hasher& hasher, unsigned threads);
  void commit(std::shared_ptr<const HubEpoch> epoch);

  // One destination's side: from join() on it is told what it lacks.
  std::shared_ptr<Lack> join();
  void leave(const std::shared_ptr<Lack>& lack);
  // A file that the destination does not know, with its hashes, which it knows from now on; none: no more.
  struct Introduction {
    std::string name;
    HashTable table;
  };
  std::optional<Introduction> introduce(Lack& lack, const std::function<bool(const std::string&)>& may_read);
  // What differed when the introduced file was compared.
  void lacks(Lack& lack, const std::string& name, const std::vector<std::pair<std::uint64_t, std::uint64_t>>& runs);
  // Begins a round with all that is lacking now: an epoch to be sent on, or (null) chunks, file by file. False:
  // nothing is.
  bool begin_round(Lack& lack, std::shared_ptr<const HubEpoch>& epoch);
  // The files of the round, and the chunks of one of them, with their bytes as they were when it began.
  std::vector<std::pair<std::string, Geometry>> round_files(const Lack& lack);
  std::vector<std::uint64_t> round_chunks(const Lack& lack, const std::string& name);
  HubChunk take(Lack& lack, const std::string& name, std::uint64_t index);
  void end_round(Lack& lack);

  std::size_t files() const;

 private:
  struct File {
    Fd fd;
    HashTable table;
    bool claimed = false;
    bool whole = false;  // an epoch has made it
  };
  HubChunk chunk_of(const File& file, std::uint64_t index, std::size_t length) const;
  void put_aside(const std::string& name, const File& file, std::uint64_t index);
  void apply(const HubEpoch::Part& part, File& file, std::set<std::uint64_t>& touched);
  void resize(const std::string& name, File& file, std::uint64_t size, std::set<std::uint64_t>& touched);
  void rehash(File& file, std::uint64_t index);

  const Hasher hasher_;
  mutable std::shared_mutex mutex_;
  std::condition_variable_any released_;
  std::map<std::string, File> files_;       // guarded by mutex_
  std::list<std::shared_ptr<Lack>> lacks_;  // guarded by mutex_
};

}  // namespace r3::sync
