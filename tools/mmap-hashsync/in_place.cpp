// SPDX-License-Identifier: Apache-2.0
// Chunks go straight into the file: what has it mapped sees them at once, one after the other. It grows with
// them and is cut at the end of the epoch.
#include "tools/mmap-hashsync/inboxes.hpp"

namespace r3::sync {

namespace {

class InPlaceInbox final : public Inbox {
 public:
  InPlaceInbox(Destination& home, MayWrite may_write) : claims_(home, std::move(may_write)) {}

  void open(std::uint32_t id, const Announcement& announced) override {
    const auto& home = claims_.home();
    files_.try_emplace(id, LandingFile(home.directory(), claims_.add(id, announced), home.options().sparse),
                       announced.geometry);
  }

  HashTable hash(std::uint32_t id, const Hasher& hasher) override {
    File& file = files_.at(id);
    return hash_of(claims_.scan(hasher), file.landing, file.geometry);
  }

  void resize(std::uint32_t id, std::uint64_t size) override {
    files_.at(id).geometry.size = size;
    files_.at(id).changed = true;
  }

  void write(std::uint32_t id, const Arrival& chunks) override {
    File& file = files_.at(id);
    file.landing.create();
    file.changed = true;
    write_chunks(file.landing, file.geometry, chunks);
  }

  void commit(std::uint64_t epoch) override {
    for (auto& [id, file] : files_) {
      if (!file.changed) continue;
      file.landing.create();
      file.landing.set_size(file.geometry.size);
      if (claims_.home().options().fsync == Fsync::round) file.landing.sync();
      file.unsynced = true;
      file.changed = false;
      claims_.tell_epoch(id, epoch);
    }
  }

  void finish() override {
    if (claims_.home().options().fsync == Fsync::end)
      for (auto& [id, file] : files_)
        if (file.unsynced) file.landing.sync();
    claims_.tell_done();
  }

 private:
  struct File {
    File(LandingFile file, const Geometry& announced) : landing(std::move(file)), geometry(announced) {}
    LandingFile landing;
    Geometry geometry;
    bool changed = true;  // at first: its size may be another one, or it may not be there
    bool unsynced = false;
  };
  Claims claims_;
  std::map<std::uint32_t, File> files_;
};

}  // namespace

std::unique_ptr<Inbox> make_in_place_inbox(Destination& home, MayWrite may_write) {
  return std::make_unique<InPlaceInbox>(home, std::move(may_write));
}

}  // namespace r3::sync
