// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hub_inbox.hpp"

#include "libcommon/base/error.hpp"

namespace r3::sync {

HubInbox::HubInbox(HubStore& store, MayWrite may_write, unsigned threads)
    : store_(store), may_write_(std::move(may_write)), threads_(threads) {}

HubInbox::~HubInbox() {
  for (const auto& [id, file] : files_) store_.release(file.name);
}

void HubInbox::open(std::uint32_t id, const Announcement& announced) {
  if (may_write_ && !may_write_(announced.name)) fail(EACCES, announced.name + ": this key may not send it");
  store_.claim(announced);
  files_.try_emplace(id, File{announced.name, announced.geometry, {}});
}

HashTable HubInbox::hash(std::uint32_t id, const Hasher& hasher) {
  const File& file = files_.at(id);
  return store_.hash(file.name, file.geometry, hasher, threads_);
}

void HubInbox::resize(std::uint32_t id, std::uint64_t size) {
  files_.at(id).geometry.size = size;
  files_.at(id).changed = true;
}

void HubInbox::write(std::uint32_t id, const Arrival& chunks) {
  File& file = files_.at(id);
  file.frames.push_back({file.geometry.size, chunks.frame});
  file.changed = true;
}

void HubInbox::commit(std::uint64_t) {
  auto epoch = std::make_shared<HubEpoch>();
  for (auto& [id, file] : files_)
    if (std::exchange(file.changed, false))
      epoch->parts.push_back({file.name, file.geometry.size, std::exchange(file.frames, {})});
  if (!epoch->parts.empty()) store_.commit(std::move(epoch));
}

}  // namespace r3::sync
