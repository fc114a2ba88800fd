// SPDX-License-Identifier: Apache-2.0
// Cuts a stream into frames. Memory grows with what arrived, at most twofold, never with what a header
// promises. Throws ProtocolError; the stream is then of no more use.
#pragma once

#include <memory>
#include <optional>

#include "libcommon/net/r3_frame.hpp"

namespace r3::wire {

class FrameReader {
 public:
  FrameReader(Side receiver, bool sums, std::uint32_t max_transfer);

  // Room for the next bytes, never empty; then how many came.
  Bytes space();
  void received(std::size_t bytes);

  // The header of the current frame, checked; null until it has arrived.
  const Header* header();
  // The whole payload, checked; none until it has arrived. Valid until space() or pop().
  std::optional<ConstBytes> payload();
  // The current frame is done with.
  void pop();

  // For a long payload, instead of payload(): moves what has arrived of it to `into`; the caller reads the
  // rest of the payload from the stream to there itself, and gives the whole to pop_taken().
  std::size_t take(Bytes into);
  // What comes after that rest: the next frame's prelude; received() says how much of it came.
  Bytes behind_taken();
  void pop_taken(ConstBytes payload);

  // Whether some bytes of an unfinished frame are here.
  bool partial() const { return begin_ < end_; }

 private:
  std::size_t wanted() const;
  void check_payload(ConstBytes payload) const;
  void advance(std::size_t bytes);

  Side side_;
  std::size_t prelude_;
  std::uint32_t max_transfer_;
  std::unique_ptr<std::byte[]> buffer_;
  std::size_t capacity_;
  std::size_t begin_ = 0;  // of the current frame
  std::size_t end_ = 0;    // of what arrived
  std::optional<Header> header_;
  std::uint64_t payload_sum_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace r3::wire
