// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/report.hpp"

#include "libcommon/base/sizes.hpp"

namespace r3::sync {

Json Report::json() const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begun;
  return Json()
      .add("seconds", seconds.count())
      .add("connections", connections.load())
      .add("rounds", rounds.load())
      .add("epochs", epochs.load())
      .add("chunks", chunks.load())
      .add("bytes_looked_at", bytes_looked_at.load())
      .add("wire_sent", wire_sent.load())
      .add("wire_received", wire_received.load())
      .add("mismatches", mismatches.load())
      .add("last_round_seconds", 1e-6 * static_cast<double>(last_round_us.load()));
}

std::string Report::text() const {
  return std::to_string(rounds) + " rounds, " + std::to_string(epochs) + " epochs, " +
         std::to_string(chunks) + " chunks; on the wire " + format_size(wire_sent) + " sent, " +
         format_size(wire_received) + " received; looked at " + format_size(bytes_looked_at);
}

}  // namespace r3::sync
