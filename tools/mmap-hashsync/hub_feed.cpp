// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/hub_feed.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::sync {

HubFeed::HubFeed(HubStore& store, Link& link, int input, const Hasher& hasher, MayRead may_read,
                 Report& report)
    : store_(store), link_(link), input_(input), pusher_(link, hasher), may_read_(std::move(may_read)),
      report_(report), lack_(store.join()) {}

void HubFeed::run(const Stop& stop) {
  do {
    bool commit = false;
    while (introduce()) commit = true;
    commit |= round();
    if (!commit) continue;
    const auto before = pusher_.chunks_sent();
    pusher_.commit();
    store_.end_round(*lack_);
    ++report_.epochs;
    report_.chunks += pusher_.chunks_sent() - before;
  } while (wait(stop));
  pusher_.bye();
}

bool HubFeed::introduce() {
  auto file = store_.introduce(*lack_, may_read_);
  if (!file) return false;
  if (ids_.size() == kMostFiles) throw std::runtime_error("more files than one destination takes");
  const auto id = static_cast<std::uint32_t>(ids_.size());
  ids_[file->name] = id;
  told_[file->name] = file->table.geometry().size;
  pusher_.announce(id, {file->table.geometry(), 1, file->name});
  std::vector<std::pair<std::uint64_t, std::uint64_t>> runs;
  for (const Run& run : pusher_.compare(id, file->table)) runs.emplace_back(run.first, run.count);
  store_.lacks(*lack_, file->name, runs);
  return true;
}

bool HubFeed::round() {
  std::shared_ptr<const HubEpoch> epoch;
  if (!store_.begin_round(*lack_, epoch)) return false;
  ++report_.rounds;
  if (epoch) {
    send_on(*epoch);
    return true;
  }
  for (const auto& [name, geometry] : store_.round_files(*lack_)) send_chunks(name, geometry);
  return true;
}

void HubFeed::resize(const std::string& name, std::uint64_t size) {
  if (std::exchange(told_[name], size) != size) pusher_.resize(ids_.at(name), size, 1);
}

void HubFeed::send_on(const HubEpoch& epoch) {
  for (const HubEpoch::Part& part : epoch.parts) {
    if (!ids_.contains(part.name)) continue;  // not for this destination
    for (const auto& [size, frame] : part.frames) {
      resize(part.name, size);
      pusher_.forward(frame, ids_.at(part.name));
    }
    resize(part.name, part.size);
  }
}

// The bytes are fetched one chunk after the other, so that the store is never held while a slow link is
// written to.
void HubFeed::send_chunks(const std::string& name, const Geometry& geometry) {
  resize(name, geometry.size);
  Batcher batcher(ids_.at(name), geometry, pusher_);
  for (const std::uint64_t index : store_.round_chunks(*lack_, name)) {
    const HubChunk chunk = store_.take(*lack_, name, index);
    if (chunk.bytes.empty()) {
      batcher.add_zeroes(index);
      continue;
    }
    std::ranges::copy(chunk.bytes, batcher.room(index).begin());
    batcher.add(index, chunk.hash);
  }
  batcher.flush();
}

// False when the stop was requested. The destination says nothing by itself but that it is leaving.
bool HubFeed::wait(const Stop& stop) {
  pollfd watched[] = {{stop.fd(), POLLIN, 0}, {input_, POLLIN, 0}, {lack_->changed.get(), POLLIN, 0}};
  while (::poll(watched, 3, -1) < 0)
    if (errno != EINTR) fail(errno, "poll");
  if (watched[0].revents) return false;
  if (watched[1].revents) link_.receive(Type::error);
  std::uint64_t count;
  [[maybe_unused]] const auto n = ::read(lack_->changed.get(), &count, sizeof count);
  return true;
}

}  // namespace r3::sync
