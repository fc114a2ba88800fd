// SPDX-License-Identifier: Apache-2.0
// Where a leecher keeps what it has pulled: the local region itself, and a map of what in it is right. The
// map is in a file (r3-leech(1), FILES) with two copies: one that is mapped and always exact, for a process
// that is killed, and one that is written only after the bytes are durable, for a power loss. Knows nothing
// of who owns the region.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/mapping.hpp"
#include "libcommon/storage/cached_store.hpp"

namespace r3 {

class LeechStore : public CacheStore {
 public:
  static constexpr std::uint64_t kChunk = 4 * KiB;
  enum class Begin { anew, where_it_was };

  // Borrows `local`. `map_path` empty: the map is in memory. Throws EINVAL when the file is no map of a
  // region of this size, and is to be taken up.
  LeechStore(Backend& local, const std::string& map_path, Begin begin);

  void attach(ChunkMap& map) override { map_ = &map; }
  std::span<std::uint64_t> present_words() override { return {live_, words_}; }
  std::span<std::uint64_t> dirty_words() override { return dirty_; }
  void read(Bytes into, std::uint64_t offset) override { local_.read_at(into, offset); }
  bool try_read(Bytes into, std::uint64_t offset) override { return local_.try_read_at(into, offset); }
  void write(ConstBytes from, std::uint64_t offset) override;
  void zero(std::uint64_t offset, std::uint64_t length) override;
  void drop(std::uint64_t, std::uint64_t) noexcept override {}
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override {
    return local_.borrow(offset, length);
  }
  // All that is present is durable, and marked so.
  void sync() override;
  // After a power loss nothing counts as present, until the next sync(): before something that is present
  // may become absent.
  void distrust();

  // The errno with which something could not be kept the last time; 0: none.
  int write_error() const { return error_; }

 private:
  std::vector<std::uint64_t> snapshot() const;
  void open_map(const std::string& path, Begin begin);
  void write_durable(const std::vector<std::uint64_t>& words);

  Backend& local_;
  ChunkMap* map_ = nullptr;  // whose locks guard the words
  const std::size_t words_;
  std::vector<std::uint64_t> dirty_;   // nothing is pushed: what can be had only here
  std::vector<std::uint64_t> memory_;  // without a file
  std::string path_;
  Fd file_;
  Mapping mapping_;
  std::uint64_t* live_ = nullptr;
  std::mutex mutex_;
  std::vector<std::uint64_t> durable_;  // guarded by mutex_: as in the file
  std::atomic<int> error_{0};
};

}  // namespace r3
