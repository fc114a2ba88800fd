// SPDX-License-Identifier: Apache-2.0
// A disk in memory that knows what was synced and what was not, for tests of what outlives a power loss.
#pragma once

#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/storage/cached_disk.hpp"

namespace r3::test {

class SimulatedDisk : public CacheDisk {
 public:
  static constexpr std::uint64_t kSector = 512;

  // Called before each operation that changes the disk.
  std::function<void()> before;
  // Writes fail with this errno from now on.
  int write_error = 0;
  int sync_error = 0;
  unsigned sync_failures = ~0U;  // so many syncs fail with it
  // Reads that touch [bad_from, bad_to) fail with EIO.
  std::uint64_t bad_from = 0, bad_to = 0;

  std::uint64_t size() override { return now_.size(); }
  void grow(std::uint64_t size, std::uint64_t) override {
    now_.resize(size);
    durable_.resize(size);
  }
  void read(Bytes into, std::uint64_t offset) override {
    if (offset + into.size() > now_.size()) fail(EIO, "past the end");
    if (offset < bad_to && bad_from < offset + into.size()) fail(EIO, "told to fail");
    std::memcpy(into.data(), now_.data() + offset, into.size());
  }
  bool try_read(Bytes into, std::uint64_t offset) override {
    read(into, offset);
    return true;
  }
  void write(ConstBytes from, std::uint64_t offset) override {
    tell();
    if (write_error != 0) fail(write_error, "told to fail");
    if (offset + from.size() > now_.size()) fail(EFBIG, "past the end");
    std::memcpy(now_.data() + offset, from.data(), from.size());
    mark(offset, from.size());
    changes_.push_back({offset, {from.begin(), from.end()}});
  }
  void punch(std::uint64_t offset, std::uint64_t length, bool) override {
    tell();
    std::memset(now_.data() + offset, 0, length);
    mark(offset, length);
    changes_.push_back({offset, std::vector<std::byte>(length)});
  }
  void sync() override {
    tell();
    if (sync_error != 0 && sync_failures > 0) {
      --sync_failures;
      fail(sync_error, "told to fail");
    }
    for (const auto sector : unsynced_) copy_sector(durable_, sector);
    unsynced_.clear();
    changes_.clear();
  }
  Bytes map(std::uint64_t offset, std::uint64_t length) override {
    live_.assign(now_.begin() + static_cast<std::ptrdiff_t>(offset),
                 now_.begin() + static_cast<std::ptrdiff_t>(offset + length));
    live_at_ = offset;
    return live_;
  }

  // What a process that is killed here leaves: everything.
  SimulatedDisk after_kill() const {
    SimulatedDisk left;
    left.now_ = now_;
    std::copy(live_.begin(), live_.end(), left.now_.begin() + static_cast<std::ptrdiff_t>(live_at_));
    left.durable_ = left.now_;
    return left;
  }
  // What a power loss here leaves: of what was not synced each sector or not, and of the mapped memory
  // anything.
  SimulatedDisk after_power_loss(std::mt19937_64& random) const {
    SimulatedDisk left;
    left.now_ = durable_;
    const auto luck = random() % 5;  // 0: none of them, 4: all
    for (const auto sector : unsynced_)
      if (random() % 4 < luck) std::copy_n(now_.begin() + at(sector), kSector, left.now_.begin() + at(sector));
    for (std::size_t i = 0; i < live_.size(); ++i)
      if (random() % 2 == 0) left.now_[live_at_ + i] = static_cast<std::byte>(random());
    left.durable_ = left.now_;
    return left;
  }
  // Of the changes that were not synced, just those whose bit is set have become durable.
  std::size_t unsynced_changes() const { return changes_.size(); }
  SimulatedDisk after_power_loss(std::uint64_t subset, std::mt19937_64& random) const {
    SimulatedDisk left;
    left.now_ = durable_;
    for (std::size_t i = 0; i < changes_.size(); ++i)
      if ((subset >> i & 1) != 0)
        std::copy(changes_[i].bytes.begin(), changes_[i].bytes.end(),
                  left.now_.begin() + static_cast<std::ptrdiff_t>(changes_[i].offset));
    for (std::size_t i = 0; i < live_.size(); ++i)
      if (random() % 2 == 0) left.now_[live_at_ + i] = static_cast<std::byte>(random());
    left.durable_ = left.now_;
    return left;
  }
  std::vector<std::byte>& bytes() { return now_; }

 private:
  static std::ptrdiff_t at(std::uint64_t sector) { return static_cast<std::ptrdiff_t>(sector * kSector); }
  void tell() {
    if (before) before();
  }
  void mark(std::uint64_t offset, std::uint64_t length) {
    for (auto sector = offset / kSector; sector * kSector < offset + length; ++sector)
      unsynced_.push_back(sector);
  }
  void copy_sector(std::vector<std::byte>& to, std::uint64_t sector) const {
    const auto length = std::min<std::uint64_t>(kSector, now_.size() - sector * kSector);
    std::copy_n(now_.begin() + at(sector), length, to.begin() + at(sector));
  }

  std::vector<std::byte> now_, durable_;
  std::vector<std::uint64_t> unsynced_;
  struct Change {
    std::uint64_t offset;
    std::vector<std::byte> bytes;
  };
  std::vector<Change> changes_;  // not synced, in their order
  std::vector<std::byte> live_;
  std::uint64_t live_at_ = 0;
};

}  // namespace r3::test
