// SPDX-License-Identifier: Apache-2.0
// A directory as the end of the way: who may send which file into it, under which name, and how an epoch gets
// into the files: in place, by a journal, or as snapshots. One file has one source at a time. Any thread may
// ask for inboxes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "libcommon/base/stop.hpp"
#include "tools/mmap-hashsync/directory.hpp"
#include "tools/mmap-hashsync/inbox.hpp"

namespace r3::sync {

enum class Keep { in_place, journal, snapshot };
enum class Fsync { none, round, end };

struct DestinationOptions {
  Keep keep = Keep::in_place;
  Fsync fsync = Fsync::end;
  bool sparse = false;
  unsigned threads = 1;
  std::string only_name;     // not empty: the one file that comes gets this name
  // Asked before a file is taken: its name beneath the directory; throws to refuse. Default: the same name.
  std::function<std::string(const std::string& name, std::uint64_t size)> accept;
  std::function<void(const std::string& name, std::uint64_t epoch)> on_epoch;  // taken over
  std::function<void(const std::string& name)> on_done;                       // its source has said bye
};

// Whether the source may write the file; empty: any.
using MayWrite = std::function<bool(const std::string& name)>;

struct JournaledEpoch;

inline constexpr std::chrono::seconds kTimeToRelease{2};

class Destination {
 public:
  // Takes the directory, and finishes what a journal holds.
  Destination(const std::string& path, DestinationOptions options);
  ~Destination();

  std::unique_ptr<Inbox> inbox(std::uint64_t instance, MayWrite may_write);

  const Directory& directory() const { return directory_; }
  const DestinationOptions& options() const { return options_; }

  // The file is the caller's until released. Returns the name that it gets here. Who has it may be a source
  // that was killed, whose connection is about to end: throws if it is still taken after kTimeToRelease.
  std::string claim(const Announcement& file, const MayWrite& may_write);
  void release(const std::string& name) noexcept;
  // The epoch that the instance began before its connection broke off, or a new one.
  std::shared_ptr<JournaledEpoch> journaled(std::uint64_t instance);
  // An epoch of another instance that has the file is given up.
  void forget_others(std::uint64_t instance, const std::string& name);

 private:
  const Directory directory_;
  const DestinationOptions options_;
  std::mutex mutex_;
  std::condition_variable released_;
  std::set<std::string> claimed_;                                      // guarded by mutex_
  std::map<std::uint64_t, std::shared_ptr<JournaledEpoch>> journals_;  // guarded by mutex_
};

}  // namespace r3::sync
