// SPDX-License-Identifier: Apache-2.0
// The inboxes of a destination, and what they share: the names that they have claimed.
#pragma once

#include <map>

#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/landing_file.hpp"

namespace r3::sync {

std::unique_ptr<Inbox> make_in_place_inbox(Destination& home, MayWrite may_write);
std::unique_ptr<Inbox> make_snapshot_inbox(Destination& home, MayWrite may_write);
std::unique_ptr<Inbox> make_journal_inbox(Destination& home, std::uint64_t instance, MayWrite may_write);

// Keeps the book of a connection's files for an inbox; File is what it knows of each.
class Claims {
 public:
  Claims(Destination& home, MayWrite may_write) : home_(home), may_write_(std::move(may_write)) {}
  ~Claims() {
    for (const auto& [id, name] : names_) home_.release(name);
  }
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;

  const std::string& add(std::uint32_t id, const Announcement& file) {
    return names_[id] = home_.claim(file, may_write_);
  }
  const std::string& name(std::uint32_t id) const { return names_.at(id); }
  Destination& home() { return home_; }
  Scan scan(const Hasher& hasher) const { return {hasher, home_.options().threads}; }

  void tell_epoch(std::uint32_t id, std::uint64_t epoch) const {
    if (home_.options().on_epoch) home_.options().on_epoch(name(id), epoch);
  }
  void tell_done() const {
    if (!home_.options().on_done) return;
    for (const auto& [id, name] : names_) home_.options().on_done(name);
  }

 private:
  Destination& home_;
  const MayWrite may_write_;
  std::map<std::uint32_t, std::string> names_;
};

}  // namespace r3::sync
