// SPDX-License-Identifier: Apache-2.0
// Where the puller of a managed mount (cached.hpp) learns what to fetch next, and where it reports what the
// application reads. Orders, heuristics, recorded working sets and read-ahead are sources; a source knows
// offsets only: not what is present already, nor how it is fetched.
//
// Any thread may call anything at any time, concurrently; nothing here waits for a remote end. What
// demanded() does is in the way of every read: it should cost no more than a short lock.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

namespace r3 {

struct PullRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  friend bool operator==(const PullRange&, const PullRange&) = default;
};

class PullSource {
 public:
  virtual ~PullSource() = default;

  // The most urgent range that was not given before, at most `most` bytes of it (never empty, within the
  // region, any alignment): the puller asks only when it can fetch it at once, so that what turns out to
  // be urgent meanwhile comes first. None: nothing for now, until demanded() says otherwise. A range may
  // come again; what is present or on its way is skipped by the puller.
  virtual std::optional<PullRange> next(std::uint64_t most) = 0;

  // The application reads this range; `missed`: it has to wait, for some of it was not present. True if
  // next() has something to give because of that (read-ahead), which wakes the puller.
  virtual bool demanded(std::uint64_t offset, std::uint64_t length, bool missed) = 0;
};

// From the start to the end, whatever is read. With a `size` of 0 it never gives anything.
class SequentialSource : public PullSource {
 public:
  explicit SequentialSource(std::uint64_t size) : size_(size) {}

  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t, std::uint64_t, bool) override { return false; }

 private:
  const std::uint64_t size_;
  std::mutex mutex_;
  std::uint64_t at_ = 0;  // guarded by mutex_
};

}  // namespace r3
