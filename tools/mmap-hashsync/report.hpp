// SPDX-License-Identifier: Apache-2.0
// What was done, in numbers: for --stats, events and the control socket. Any thread may count.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "libcommon/cli/events.hpp"

namespace r3::sync {

struct Report {
  std::atomic<std::uint64_t> rounds{0};         // looks at all files
  std::atomic<std::uint64_t> epochs{0};         // taken over by a destination
  std::atomic<std::uint64_t> chunks{0};         // sent, or received
  std::atomic<std::uint64_t> bytes_looked_at{0};
  std::atomic<std::uint64_t> wire_sent{0};
  std::atomic<std::uint64_t> wire_received{0};
  std::atomic<std::uint64_t> connections{0};
  std::atomic<std::uint64_t> mismatches{0};     // chunks that --verify found to be wrong
  std::atomic<std::uint64_t> last_round_us{0};
  const std::chrono::steady_clock::time_point begun = std::chrono::steady_clock::now();

  Json json() const;
  std::string text() const;
};

}  // namespace r3::sync
