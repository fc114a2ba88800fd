// SPDX-License-Identifier: Apache-2.0
// Each epoch makes a new file, a clone where the file system can, and renames it over the old one: readers see
// the one or the other, and who has the old one open keeps it.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libcommon/base/error.hpp"
#include "tools/mmap-hashsync/inboxes.hpp"

namespace r3::sync {

namespace {

// What an earlier run left under the name is as good a beginning as any: hashes tell what it holds.
std::string next_name_of(const std::string& name) {
  const auto slash = name.rfind('/');
  const std::string parent = slash == name.npos ? "" : name.substr(0, slash + 1);
  const std::string leaf = leaf_of(name);
  char number[17];
  std::snprintf(number, sizeof number, "%016llx",
                static_cast<unsigned long long>(checksum(as_bytes(leaf))));
  return parent + std::string(kOwnPrefix) + "-" + number + ".next";
}

void copy_data(int from, int to, std::uint64_t size, const std::string& what) {
  if (::ioctl(to, FICLONE, from) == 0) return;
  for (off_t at = 0; (at = ::lseek(from, at, SEEK_DATA)) >= 0;) {
    const off_t end = check(::lseek(from, at, SEEK_HOLE), what);
    for (off_t out = at; at < end;)
      if (check(::copy_file_range(from, &at, to, &out, static_cast<std::size_t>(end - at), 0), what) == 0) return;
  }
  if (errno != ENXIO) fail(errno, what);
  check(::ftruncate(to, static_cast<off_t>(size)), what);
}

class SnapshotInbox final : public Inbox {
 public:
  SnapshotInbox(Destination& home, MayWrite may_write) : claims_(home, std::move(may_write)) {}

  void open(std::uint32_t id, const Announcement& announced) override {
    const auto& home = claims_.home();
    files_.try_emplace(id, home, claims_.add(id, announced), announced.geometry);
  }

  HashTable hash(std::uint32_t id, const Hasher& hasher) override {
    File& file = files_.at(id);
    if (file.next.open_existing()) {
      file.changed = true;
      return hash_of(claims_.scan(hasher), file.next, file.geometry);
    }
    file.current.close();  // it may have been renamed over
    HashTable table = hash_of(claims_.scan(hasher), file.current, file.geometry);
    file.changed |= !file.current.is_open() || file.current.size() != file.geometry.size;
    return table;
  }

  void resize(std::uint32_t id, std::uint64_t size) override {
    files_.at(id).geometry.size = size;
    files_.at(id).changed = true;
  }

  void write(std::uint32_t id, const Arrival& chunks) override {
    File& file = files_.at(id);
    begin(file);
    write_chunks(file.next, file.geometry, chunks);
  }

  void commit(std::uint64_t epoch) override {
    const auto& home = claims_.home();
    for (auto& [id, file] : files_) {
      if (!std::exchange(file.changed, false)) {
        if (home.options().fsync == Fsync::round) make_durable(file);
        continue;
      }
      begin(file);
      file.next.set_size(file.geometry.size);
      if (home.options().fsync == Fsync::round) file.next.sync();
      home.directory().rename(file.next.name(), file.current.name());
      file.next.close();
      file.current.close();
      file.changed = false;
      file.unsynced = home.options().fsync != Fsync::round;
      if (!file.unsynced) home.directory().sync_entry(file.current.name());
      claims_.tell_epoch(id, epoch);
    }
  }

  void finish() override {
    if (claims_.home().options().fsync == Fsync::end)
      for (auto& [id, file] : files_) make_durable(file);
    claims_.tell_done();
  }

 private:
  struct File {
    File(const Destination& home, const std::string& name, const Geometry& announced)
        : current(home.directory(), name, home.options().sparse),
          next(home.directory(), next_name_of(name), home.options().sparse), geometry(announced) {}
    LandingFile current;
    LandingFile next;
    Geometry geometry;
    bool changed = false;
    bool unsynced = true;  // by whoever put it there, and was killed perhaps
  };

  void make_durable(File& file) {
    if (!file.unsynced || !file.current.open_existing()) return;
    file.current.sync();
    file.unsynced = false;
  }

  void begin(File& file) {
    file.changed = true;
    if (file.next.open_existing()) return;
    file.next.create();
    if (file.current.open_existing())
      copy_data(file.current.fd(), file.next.fd(), file.current.size(), file.current.path());
  }

  Claims claims_;
  std::map<std::uint32_t, File> files_;
};

}  // namespace

std::unique_ptr<Inbox> make_snapshot_inbox(Destination& home, MayWrite may_write) {
  return std::make_unique<SnapshotInbox>(home, std::move(may_write));
}

}  // namespace r3::sync
