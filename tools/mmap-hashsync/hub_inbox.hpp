// SPDX-License-Identifier: Apache-2.0
// A hub as the destination of a source: an epoch is gathered as it comes, and given to the store whole.
#pragma once

#include <map>

#include "tools/mmap-hashsync/destination.hpp"
#include "tools/mmap-hashsync/hub_store.hpp"

namespace r3::sync {

class HubInbox final : public Inbox {
 public:
  HubInbox(HubStore& store, MayWrite may_write, unsigned threads);
  ~HubInbox() override;

  void open(std::uint32_t id, const Announcement& file) override;
  HashTable hash(std::uint32_t id, const Hasher& hasher) override;
  void resize(std::uint32_t id, std::uint64_t size) override;
  void write(std::uint32_t id, const Arrival& chunks) override;
  void commit(std::uint64_t epoch) override;
  void finish() override {}

 private:
  struct File {
    std::string name;
    Geometry geometry;
    std::vector<HubEpoch::Sized> frames;
    bool changed = true;  // at first: the hub may have another size, or nothing
  };
  HubStore& store_;
  const MayWrite may_write_;
  const unsigned threads_;
  std::map<std::uint32_t, File> files_;
};

}  // namespace r3::sync
