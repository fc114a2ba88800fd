// SPDX-License-Identifier: Apache-2.0
// Spares what is here already: background reads of an r3 server's export are answered from a local region
// wherever the two have the same hash, so that a pull that is begun again, or of a region that was here
// before, moves only what differs. Knows nothing of why it is here.
#pragma once

#include <atomic>

#include "libcommon/net/r3_client.hpp"
#include "libcommon/storage/decorator.hpp"

namespace r3 {

class HashSpared : public Decorator {
 public:
  static constexpr std::uint32_t kChunk = 64 * KiB;

  // Borrows both, of the same size.
  HashSpared(R3Client& remote, Backend& local);

  void read_background(Bytes into, std::uint64_t offset) override;
  // From now on everything is read; begin() takes that back.
  void end() { ended_ = true; }
  void begin() { ended_ = false; }
  std::uint64_t spared() const { return spared_; }  // bytes

 private:
  bool holds_data(std::uint64_t offset, std::uint64_t length);

  R3Client& remote_;
  Backend& local_;
  std::atomic<bool> ended_{false};
  std::atomic<std::uint64_t> spared_{0};
};

}  // namespace r3
