// SPDX-License-Identifier: Apache-2.0
// Where a managed mount (cached.hpp) keeps the chunks it has, and the two bitmaps that say which: present,
// and dirty (not yet durable on the remote). Memory forgets it all with the process; a file (cached_file.hpp)
// brings it back after a crash, for which it wants to be asked before certain things are done. Knows
// chunks, not where they come from or go to.
//
// Any thread may call anything; the bitmaps are guarded by the owner's locks (cached_map.hpp).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/storage/memory.hpp"

namespace r3 {

class ChunkMap;

class CacheStore {
 public:
  virtual ~CacheStore() = default;

  // The owner's map and locks, before anything else is called.
  virtual void attach(ChunkMap&) {}

  // Words of the bitmaps, a bit for each chunk.
  virtual std::span<std::uint64_t> present_words() = 0;
  virtual std::span<std::uint64_t> dirty_words() = 0;

  virtual void read(Bytes into, std::uint64_t offset) = 0;
  // The read without waiting for a disk, or false.
  virtual bool try_read(Bytes into, std::uint64_t offset) = 0;
  // Throw ENOSPC, EIO, ... when the bytes cannot be kept.
  virtual void write(ConstBytes from, std::uint64_t offset) = 0;
  virtual void zero(std::uint64_t offset, std::uint64_t length) = 0;
  // Gives the space of whole chunks back, which are not present any more.
  virtual void drop(std::uint64_t offset, std::uint64_t length) noexcept = 0;
  // Bytes that are in memory already, as Backend::borrow(); or an empty span.
  virtual ConstBytes borrow(std::uint64_t offset, std::uint64_t length) = 0;

  // Whether present, clean chunks may be overwritten now. If not, allow_overwrite(), which may wait for a
  // disk, is to be called without any lock, and then the question asked again.
  virtual bool may_overwrite(std::uint64_t, std::uint64_t) { return true; }
  virtual void allow_overwrite(std::uint64_t, std::uint64_t) {}
  // Called before clean chunks become absent, with no lock held; nothing else is dropped until the next
  // call. May wait.
  virtual void prepare_drop(std::uint64_t, std::uint64_t) {}
  // Whether the chunks were prepared and may be dropped, with their group's lock held.
  virtual bool may_drop(std::uint64_t, std::uint64_t) { return true; }

  // The errno with which it failed for good, 0 as long as it has not: nothing can be written any more, what
  // is clean is to be read from the remote, and what is dirty is read here and pushed while that goes.
  virtual int error() const { return 0; }

  // The bytes that were written before the call outlive a power loss when it returns, or nothing of it will
  // ever be believed again (error()). Before an epoch ends: else an older copy here could be pushed over
  // what the remote has already made durable.
  virtual void sync_data() {}
  // All that was written and marked before the call outlives a power loss when it returns.
  virtual void sync() {}
};

// In memory, taken from the system as it is used.
class MemoryStore : public CacheStore {
 public:
  MemoryStore(std::uint64_t size, std::uint64_t chunk)
      : memory_(size),
        present_(((size + chunk - 1) / chunk + 63) / 64),
        dirty_(present_.size()) {}

  std::span<std::uint64_t> present_words() override { return present_; }
  std::span<std::uint64_t> dirty_words() override { return dirty_; }
  void read(Bytes into, std::uint64_t offset) override { memory_.read_at(into, offset); }
  bool try_read(Bytes into, std::uint64_t offset) override {
    return memory_.try_read_at(into, offset);
  }
  void write(ConstBytes from, std::uint64_t offset) override { memory_.write_at(from, offset); }
  void zero(std::uint64_t offset, std::uint64_t length) override {
    memory_.zero_at(offset, length, {});
  }
  void drop(std::uint64_t offset, std::uint64_t length) noexcept override {
    memory_.discard_at(offset, length);
  }
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override {
    return memory_.borrow(offset, length);
  }

 private:
  MemoryBackend memory_;
  std::vector<std::uint64_t> present_;
  std::vector<std::uint64_t> dirty_;
};

}  // namespace r3
