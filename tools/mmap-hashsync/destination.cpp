// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/destination.hpp"

#include "libcommon/base/error.hpp"
#include "tools/mmap-hashsync/inboxes.hpp"
#include "tools/mmap-hashsync/journal.hpp"

namespace r3::sync {

Destination::Destination(const std::string& path, DestinationOptions options)
    : directory_(path), options_(std::move(options)) {
  recover_journals(directory_);
}

Destination::~Destination() = default;

std::unique_ptr<Inbox> Destination::inbox(std::uint64_t instance, MayWrite may_write) {
  switch (options_.keep) {
    case Keep::journal: return make_journal_inbox(*this, instance, std::move(may_write));
    case Keep::snapshot: return make_snapshot_inbox(*this, std::move(may_write));
    case Keep::in_place: break;
  }
  return make_in_place_inbox(*this, std::move(may_write));
}

std::string Destination::claim(const Announcement& file, const MayWrite& may_write) {
  check_name(file.name);
  if (may_write && !may_write(file.name)) fail(EACCES, file.name + ": this key may not send it");
  std::string name = options_.only_name.empty() ? file.name : options_.only_name;
  if (options_.accept) name = options_.accept(name, file.geometry.size);
  check_name(name);
  std::unique_lock lock(mutex_);
  if (!released_.wait_for(lock, kTimeToRelease, [&] { return claimed_.insert(name).second; }))
    fail(EBUSY, name + ": another source sends this file");
  return name;
}

void Destination::release(const std::string& name) noexcept {
  {
    std::lock_guard lock(mutex_);
    claimed_.erase(name);
  }
  released_.notify_all();
}

std::shared_ptr<JournaledEpoch> Destination::journaled(std::uint64_t instance) {
  std::lock_guard lock(mutex_);
  std::erase_if(journals_, [&](const auto& one) {
    return one.first != instance && one.second.use_count() == 1 && one.second->empty();
  });
  auto& epoch = journals_[instance];
  if (!epoch) epoch = std::make_shared<JournaledEpoch>(directory_, instance);
  if (epoch.use_count() > 1) fail(EBUSY, "this source is connected already");
  if (epoch->decided()) epoch->apply(directory_, options_.sparse);
  return epoch;
}

void Destination::forget_others(std::uint64_t instance, const std::string& name) {
  std::lock_guard lock(mutex_);
  std::erase_if(journals_, [&](const auto& one) {
    return one.first != instance && one.second.use_count() == 1 && one.second->has(name);
  });
}

}  // namespace r3::sync
