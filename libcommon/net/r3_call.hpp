// SPDX-License-Identifier: Apache-2.0
// One request of an r3/1 client and what becomes of it. Its owner fills the first part, and keeps it all in place
// until R3Slot::wait() returned or threw. Part of r3_client.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <vector>

#include "libcommon/net/r3_frame.hpp"

namespace r3 {

class R3Slot;

struct R3Call {
  wire::Header request;
  ConstBytes payload;  // of a WRITE
  Bytes into;          // of a READ; `request.length` bytes

  std::vector<std::byte> answer;   // of EXTENTS and HASH
  std::uint64_t verifier = 0;      // of the server that made the change
  int error = 0;

  // The slot's, guarded by its mutex_.
  R3Slot* slot = nullptr;
  bool done = false;
  std::uint32_t got = 0;  // bytes of `into`
  std::uint64_t sent_on = 0;  // the number of the connection
  std::condition_variable* waiter = nullptr;
  std::chrono::steady_clock::time_point started;
};

}  // namespace r3
