// SPDX-License-Identifier: Apache-2.0
// Chunks go into the journal; the files change when the epoch is whole. An epoch that a broken connection left
// half received goes on where it was, as far as the hashes agree.
#include "tools/mmap-hashsync/inboxes.hpp"
#include "tools/mmap-hashsync/journal.hpp"

namespace r3::sync {

namespace {

class JournalInbox final : public Inbox {
 public:
  JournalInbox(Destination& home, std::uint64_t instance, MayWrite may_write)
      : claims_(home, std::move(may_write)), instance_(instance), epoch_(home.journaled(instance)) {}

  void open(std::uint32_t id, const Announcement& announced) override {
    auto& home = claims_.home();
    const std::string& name = claims_.add(id, announced);
    home.forget_others(instance_, name);
    files_.try_emplace(id, LandingFile(home.directory(), name, home.options().sparse), announced.geometry);
  }

  HashTable hash(std::uint32_t id, const Hasher& hasher) override {
    File& file = files_.at(id);
    file.landing.close();
    HashTable table = hash_of(claims_.scan(hasher), file.landing, file.geometry);
    file.changed |= !file.landing.is_open() || file.landing.size() != file.geometry.size;
    lay_over(file, table, hasher);
    file.landing.close();
    return table;
  }

  void resize(std::uint32_t id, std::uint64_t size) override {
    files_.at(id).geometry.size = size;
    files_.at(id).changed = true;
  }

  void write(std::uint32_t id, const Arrival& chunks) override {
    File& file = files_.at(id);
    file.changed = true;
    epoch_->write(epoch_->file(file.landing.name(), file.geometry.chunk), file.geometry, chunks);
  }

  void commit(std::uint64_t epoch) override {
    std::map<std::uint32_t, std::uint64_t> sizes;
    for (auto& [id, file] : files_)
      if (file.changed)
        sizes[epoch_->file(file.landing.name(), file.geometry.chunk).number] = file.geometry.size;
    if (sizes.empty()) return;
    epoch_->decide(sizes);
    epoch_->apply(claims_.home().directory(), claims_.home().options().sparse);
    for (auto& [id, file] : files_)
      if (std::exchange(file.changed, false)) claims_.tell_epoch(id, epoch);
  }

  void finish() override { claims_.tell_done(); }

 private:
  struct File {
    File(LandingFile file, const Geometry& announced) : landing(std::move(file)), geometry(announced) {}
    LandingFile landing;
    Geometry geometry;
    bool changed = false;
  };

  void lay_over(File& file, HashTable& table, const Hasher& hasher) {
    if (!epoch_->has(file.landing.name())) return;
    const auto& pending = epoch_->file(file.landing.name(), file.geometry.chunk);
    std::vector<std::byte> buffer(file.geometry.chunk);
    for (const auto& [index, where] : pending.chunks) {
      if (index >= file.geometry.chunks()) break;
      file.changed = true;
      const Bytes chunk = Bytes(buffer).first(file.geometry.length(index));
      std::ranges::fill(chunk, std::byte{0});
      if (file.landing.is_open())
        pread_full(file.landing.fd(), chunk, file.geometry.offset(index), file.landing.path());
      epoch_->overlay(pending, index, chunk);
      table.set(index, hasher.of(chunk));
    }
  }

  Claims claims_;
  const std::uint64_t instance_;
  const std::shared_ptr<JournaledEpoch> epoch_;
  std::map<std::uint32_t, File> files_;
};

}  // namespace

std::unique_ptr<Inbox> make_journal_inbox(Destination& home, std::uint64_t instance, MayWrite may_write) {
  return std::make_unique<JournalInbox>(home, instance, std::move(may_write));
}

}  // namespace r3::sync
