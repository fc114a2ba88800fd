// SPDX-License-Identifier: Apache-2.0
// Foresees what an application that reads in a pattern reads next: forward or backward, or in equal
// steps, several such streams at once. What a stream has read so far is what it may have ahead, up to a
// limit: whatever it stops at, it has cost at most as many bytes as it used. Random reading costs nothing:
// a stream is one only once its reads have followed each other twice.
//
// A layer of a pull order (pull_order.hpp), before the others. Pure logic: knows offsets, not bytes.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>

#include "libcommon/storage/pull_source.hpp"

namespace r3 {

class ReadAhead : public PullSource {
 public:
  // `most_ahead`: bytes that one stream may be ahead: what the link carries in two round trips is enough.
  ReadAhead(std::uint64_t region_size, std::uint64_t most_ahead);

  std::optional<PullRange> next(std::uint64_t most) override;
  bool demanded(std::uint64_t offset, std::uint64_t length, bool missed) override;

  // Any thread, at any time: the link turned out to be faster, or longer.
  void set_most_ahead(std::uint64_t bytes);

 private:
  static constexpr std::size_t kStreams = 16;
  static constexpr std::size_t kHistory = 64;  // enough for so many streams to begin at once

  struct Read {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::uint64_t end() const { return offset + length; }
  };
  enum class Kind { forward, backward, steps };
  struct Stream {
    Kind kind = Kind::forward;
    std::int64_t at = 0;         // where the next read begins; if it goes backward, ends
    std::int64_t step = 0;       // from read to read, of equal steps
    std::int64_t length = 0;     // of one read, of equal steps
    std::int64_t used = 0;       // bytes read so far
    std::int64_t foreseen = 0;   // bytes from `at` on that were given
    bool filling = false;        // more is to be given
  };

  bool follow(const Read& read);
  static bool continues(Stream& stream, const Read& read);
  std::optional<Stream> begin(const Read& read) const;
  const Read* find(std::uint64_t offset, std::uint64_t length) const;
  void remember(const Read& read);
  std::int64_t ahead(const Stream& stream) const;
  std::optional<PullRange> foresee(Stream& stream, std::int64_t most) const;

  const std::int64_t size_;
  std::mutex mutex_;
  std::int64_t most_ahead_;               // all from here on guarded by mutex_
  std::list<Stream> streams_;             // the one that was read last first
  std::array<Read, kHistory> history_{};  // reads that belong to no stream, a ring
  std::size_t remembered_ = 0;            // how many there ever were
};

}  // namespace r3
