// SPDX-License-Identifier: Apache-2.0
// A remote region at local speed: a managed mount. What was read once is here; what was not yet is fetched
// ahead in the background; what is written is here at once, and pushed back in epochs. Composed of the
// chunks and their rules (cached_chunks.hpp), a puller and a pusher. Knows no remote but a Backend, no
// order but a PullSource, no place for chunks but a CacheStore.
#pragma once

#include <memory>
#include <string>

#include "libcommon/storage/backend.hpp"
#include "libcommon/storage/cached_puller.hpp"
#include "libcommon/storage/cached_pusher.hpp"

namespace r3 {

// What flush() promises about the writes that returned before it.
enum class CachedSync {
  remote,  // they are durable on the remote
  local,   // they are in the cache, and outlive a power loss there
  none,    // nothing
};

struct CachedOptions {
  std::uint64_t chunk = 4 * KiB;  // a power of two
  std::uint64_t capacity = ~0ULL;  // bytes that may be here at once
  CachedSync sync = CachedSync::remote;
  PullerOptions pull;
  PusherOptions push;
  CachedChunks::OnLocal on_local = {};  // see cached_chunks.hpp
};

struct CachedNumbers {
  std::uint64_t size = 0, present = 0, dirty = 0, in_flight = 0;  // bytes
  std::uint64_t missed = 0;   // reads that had to wait for the remote
  std::uint64_t evicted = 0;  // bytes
  Puller::Numbers pull;
  Pusher::Numbers push;
  bool complete = false;  // everything that the source wants is here
  std::string last_error;  // of the remote
  int cache_error = 0;     // the errno with which the cache last failed
};

class Cached : public Backend {
 public:
  // Starts to pull at once. `source` is told what is read; all three outlive this.
  Cached(Backend& remote, CacheStore& store, PullSource& source, const CachedOptions& options);
  // Stops; what is dirty is not pushed any more (push()), and stays in the store.
  ~Cached() override;

  std::uint64_t size() const override { return chunks_.map().size(); }
  std::uint64_t block_size() const override { return chunks_.map().chunk(); }
  bool read_only() const override { return remote_.read_only(); }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  // What is zero or a hole on the remote, where nothing was changed here since; the rest is data.
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override;
  void prefetch(std::uint64_t offset, std::uint64_t length) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override;

  // What flush() promises from now on.
  void promise(CachedSync sync) { sync_ = sync; }
  // Everything that was written before is durable on the remote, whatever flush() promises.
  void push() { pusher_.flush(); }
  bool wait_until_clean(const Stop& stop) { return pusher_.wait_until_clean(stop); }
  bool wait_until_pulled(const Stop& stop) { return puller_.wait_until_complete(stop); }
  CachedNumbers numbers() const;
  CachedChunks& chunks() { return chunks_; }

 private:
  void check_write(std::uint64_t offset, std::uint64_t length) const;
  void was_read(std::uint64_t offset, std::uint64_t length, bool missed);
  bool any_dirty(std::uint64_t offset, std::uint64_t length);

  Backend& remote_;
  CacheStore& store_;
  PullSource& source_;
  std::atomic<CachedSync> sync_;
  CachedChunks chunks_;
  std::atomic<std::uint64_t> missed_{0};
  Puller puller_;
  Pusher pusher_;
};

}  // namespace r3
