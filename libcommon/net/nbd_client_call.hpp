// SPDX-License-Identifier: Apache-2.0
// One request to an NBD server and what is known of its answer. Who may touch which part when is the
// business of Connection.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3::nbd {

// Which parts of a request have been answered. Parts never overlap. Parts that come in order cost
// nothing.
class Coverage {
 public:
  // False if the part overlaps an earlier one, or there would be too many gaps to keep in mind.
  bool add(std::uint64_t start, std::uint64_t length);
  // Whether all of [0, length) is there.
  bool is_whole(std::uint64_t length) const { return parts_.empty() && prefix_ == length; }
  void clear();

 private:
  std::uint64_t prefix_ = 0;  // all before it is there
  std::vector<std::pair<std::uint64_t, std::uint64_t>> parts_;  // [start, end) after it; sorted, apart
};

struct Call {
  Command command = kRead;
  std::uint16_t flags = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  Bytes into;               // read: `length` bytes
  ConstBytes payload;       // write: `length` bytes
  std::size_t most_extents = 0;  // block status

  // The answer. `sleeping` is guarded by the connection's mutex, and `state` is written under it; the
  // rest is written by the thread that receives, and may be read by the call's own thread when the
  // state is no longer in_flight. That thread may then end the call at once, without the mutex.
  enum class State { idle, in_flight, answered, lost };
  std::atomic<State> state = State::idle;
  std::uint32_t slot = 0;  // in the connection
  bool sleeping = false;   // its thread waits for the bell of its slot
  int error = 0;          // errno; 0: done
  bool has_chunks = false;
  Coverage covered;
  std::vector<Extent> extents;  // of the part of the range that the server described
};

}  // namespace r3::nbd
