// SPDX-License-Identifier: Apache-2.0
// How much to bring for a page fault: faults that follow each other get twice as much each time, the
// others the least. Knows several streams, so that threads that read side by side all grow. Belongs to
// one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace r3 {

class FaultStreams {
 public:
  FaultStreams(std::uint64_t least, std::uint64_t most) : least_(least), most_(std::max(least, most)) {}

  // Bytes for a fault at this address. `slow`: what was brought lately took so long that larger chunks
  // would only keep who asks waiting.
  std::uint64_t length_for(std::uint64_t address, bool slow) {
    const auto follows = [&](const Stream& s) { return s.length > 0 && address - s.next <= s.length; };
    const auto found = std::find_if(streams_.begin(), streams_.end(), follows);
    Stream stream{0, least_};
    if (found != streams_.end()) stream.length = std::clamp(slow ? found->length / 2 : found->length * 2, least_, most_);
    // The stream in use is the first, the one that is forgotten the last.
    std::move_backward(streams_.begin(), found == streams_.end() ? found - 1 : found,
                       found == streams_.end() ? found : found + 1);
    streams_[0] = stream;
    return stream.length;
  }
  // Where what was brought for the last fault ends: who follows on asks there.
  void brought(std::uint64_t end) { streams_[0].next = end; }

 private:
  struct Stream {
    std::uint64_t next = 0;
    std::uint64_t length = 0;  // 0: none yet
  };
  const std::uint64_t least_;
  const std::uint64_t most_;
  std::array<Stream, 8> streams_{};
};

}  // namespace r3
