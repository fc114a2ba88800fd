// SPDX-License-Identifier: Apache-2.0
// A region that is on its way here: what was pulled is in the local region, the rest is fetched from the
// seeder when it is read, and in the background in the order of a PullSource. What is written stays here.
// Built from the chunks and the puller of a managed mount, without a pusher. Knows nothing of when the
// region may be used: a Lockable on top of it does.
#pragma once

#include <deque>
#include <mutex>

#include "libcommon/storage/cached_puller.hpp"
#include "libcommon/storage/leech_store.hpp"
#include "libcommon/storage/tracked.hpp"

namespace r3 {

// What has to come again goes first, then what somebody else says.
class LeechSource : public PullSource {
 public:
  explicit LeechSource(PullSource& rest) : rest_(rest) {}
  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t offset, std::uint64_t length, bool missed) override {
    return rest_.demanded(offset, length, missed);
  }
  void again(PullRange range);

 private:
  PullSource& rest_;
  std::mutex mutex_;
  std::deque<PullRange> again_;  // guarded by mutex_
};

class Leeched : public Backend {
 public:
  // Starts to pull at once. Borrows everything; `remote` has the size of the local region.
  Leeched(Backend& remote, Backend& local, LeechStore& store, LeechSource& source, const PullerOptions& options);
  ~Leeched() override;

  std::uint64_t size() const override { return local_.size(); }
  std::uint64_t block_size() const override { return LeechStore::kChunk; }
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  // What was written is durable here.
  void flush() override { store_.sync(); }
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  bool try_read_at(Bytes into, std::uint64_t offset) override;
  bool try_write_at(ConstBytes from, std::uint64_t offset) override;
  ConstBytes borrow(std::uint64_t offset, std::uint64_t length) override;
  void abandon() noexcept override;

  // These blocks are other ones at the seeder now: they come again, before all else. Returns how many bytes
  // of them had been pulled. Only while nothing is written here.
  std::uint64_t invalidate(const WrittenBlocks& blocks);
  void invalidate_all();
  void pause() { puller_.pause(); }
  void resume() { puller_.resume(); }
  // Asks the source again for what is absent, from the start.
  void look_again();

  std::uint64_t present() const;  // bytes
  bool complete() const { return chunks_.map().present_count() == chunks_.map().chunks(); }
  std::uint64_t missed() const { return missed_; }
  Puller::Numbers numbers() const { return puller_.numbers(); }
  // All that the source names was asked for, whether it could be kept or not.
  bool pulled() const { return puller_.complete(); }
  std::string last_error() const { return puller_.last_error(); }

 private:
  void was_read(std::uint64_t offset, std::uint64_t length, bool missed);

  Backend& remote_;
  Backend& local_;
  LeechStore& store_;
  LeechSource& source_;
  CachedChunks chunks_;
  std::atomic<std::uint64_t> missed_{0};
  Puller puller_;
};

}  // namespace r3
