// SPDX-License-Identifier: Apache-2.0
// A cache in a file, which outlives the process and a power loss. The rules, for each chunk:
//
//   before a present, clean chunk is overwritten, the intent bit of its group is durable;
//   its bytes are durable before its present bit;
//   the dirty bit is taken away only after the remote has flushed, and its bytes are durable here as well,
//   lest older ones are taken for newer than the remote's (the owner's rule);
//   its present bit is durably gone before its space is given back.
//
// A disk that fails to sync has lost nobody knows what. The label then says so, and no start believes the cache
// again.
//
// A process that was killed leaves the live maps, which are exact. After a power loss the map pages count:
// every present chunk of a group with intent is then taken for dirty, for its bytes may be newer than the
// remote's. An extra dirty bit costs a push; a missing one would be a lost write.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/base/bitmap.hpp"
#include "libcommon/storage/cached_disk.hpp"
#include "libcommon/storage/cached_format.hpp"
#include "libcommon/storage/cached_map.hpp"

namespace r3 {

class FileStore : public CacheStore {
 public:
  enum class Found { empty, closed, killed, power_loss };

  // Takes up what is on the disk, or begins anew on an empty one. `boot`: names the boot of the system.
  // Throws std::system_error (EINVAL) for what is no cache, is damaged, or belongs to another region; the
  // disk is then unchanged. `name`: of the disk, in messages.
  FileStore(CacheDisk& disk, const std::string& name, const CacheOwner& owner,
            const std::array<std::byte, 16>& boot);

  Found found() const { return found_; }
  // Chunks that are present and clean are no longer: their bytes may be old. Before anybody else uses it.
  void forget_clean(std::uint64_t first, std::uint64_t count);

  // Everything is durable, and marked so: the next start need not doubt anything.
  void close();

  std::span<std::uint64_t> present_words() override { return present_words_; }
  std::span<std::uint64_t> dirty_words() override { return dirty_words_; }
  void attach(ChunkMap& map) override { map_ = &map; }
  void read(Bytes into, std::uint64_t offset) override;
  bool try_read(Bytes into, std::uint64_t offset) override;
  void write(ConstBytes from, std::uint64_t offset) override;
  void zero(std::uint64_t offset, std::uint64_t length) override;
  void drop(std::uint64_t offset, std::uint64_t length) noexcept override;
  ConstBytes borrow(std::uint64_t, std::uint64_t) override { return {}; }
  bool may_overwrite(std::uint64_t first, std::uint64_t count) override;
  void allow_overwrite(std::uint64_t first, std::uint64_t count) override;
  void prepare_drop(std::uint64_t first, std::uint64_t count) override;
  bool may_drop(std::uint64_t first, std::uint64_t count) override;
  int error() const override { return error_; }
  void sync_data() override;
  void sync() override;

 private:
  // What is, or is about to be, on the disk of one map page.
  struct Page {
    std::uint64_t sequence = 0;
    std::uint64_t durable_intent = 0;
    std::atomic<std::uint64_t> intent{0};  // what may_overwrite() goes by
  };
  struct Snapshot {
    std::uint64_t number;
    CachePage page;
  };

  void begin(const CacheOwner& owner);
  void take_up(const CacheOwner& owner);
  bool is_unfinished();
  CacheLabel read_label();
  void check_label(const CacheLabel& label, const CacheOwner& owner) const;
  void write_label(std::uint64_t open);
  void make_durable();
  void distrust();
  void read_pages(const CacheLabel& label);
  bool read_page(std::uint64_t number, CachePage& newest);
  void recover();
  void write_page(CachePage& page);
  void fill_from_image(CachePage& page) const;
  void put_into_image(const CachePage& page);
  bool take_snapshot(std::uint64_t number, CachePage& page);
  void take_back(std::uint64_t first_word, const std::vector<std::uint64_t>& clean);
  void write_pages(std::vector<CachePage>& pages);
  [[noreturn]] void refuse(const std::string& why) const;

  CacheDisk& disk_;
  const std::string name_;
  const CacheLayout layout_;
  const std::array<std::byte, 16> boot_;
  CacheLabel label_;
  Found found_ = Found::empty;
  std::atomic<int> error_{0};           // of the first sync that failed
  std::atomic<bool> distrusted_{false};  // and the label says so
  ChunkMap* map_ = nullptr;
  std::span<std::uint64_t> present_words_, dirty_words_;  // live: of mapped memory

  std::mutex checkpoint_mutex_;  // one checkpoint or preparation at a time; taken before pages_mutex_
  std::mutex pages_mutex_;
  std::vector<Page> pages_;               // guarded by pages_mutex_, but for `intent`
  Bitmap image_present_, image_dirty_;    // guarded by pages_mutex_: as they are in the pages
  Bitmap claimed_;  // guarded by the groups' locks: present in a page, or about to be
};

}  // namespace r3
