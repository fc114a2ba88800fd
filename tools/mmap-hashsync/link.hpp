// SPDX-License-Identifier: Apache-2.0
// A connection to a peer, as frames. One thread receives; any number may send. Says what went over it. Knows
// how bytes are packed and how fast they may go, not what they are for.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>

#include "libcommon/net/r3_payload.hpp"
#include "libcommon/net/stream.hpp"
#include "tools/mmap-hashsync/frame.hpp"
#include "tools/mmap-hashsync/pace.hpp"

namespace r3::sync {

enum class Compress { automatic, always, never };

struct LinkOptions {
  Compress compress = Compress::automatic;
  Bandwidth* bandwidth = nullptr;  // borrowed; may be shared by several links
};

class Link {
 public:
  // Borrows the stream.
  Link(Stream& stream, const LinkOptions& options) : stream_(stream), options_(options) {}

  void send(Header header, ConstBytes payload = {});
  // A batch as a frame, and a frame that was received, as it is.
  void send(Batch& batch, std::uint64_t epoch);
  void forward(const Frame& frame, std::uint32_t file, std::uint64_t epoch);

  // The next frame, undamaged. Throws ConnectionLost at the end of the stream, or when a frame that has begun
  // does not go on for five seconds, and what a peer's error says. No other thread sends meanwhile.
  Frame receive();
  // The same, which has to be of that type.
  Frame receive(Type type);

  // After a send() failed: throws what the peer said before it hung up, if it said anything.
  void listen_for_last_words();

  std::uint64_t bytes_sent() const { return bytes_sent_; }
  std::uint64_t bytes_received() const { return bytes_received_; }

 private:
  std::size_t read_within(Bytes into);
  std::unique_ptr<wire::Packer> take_packer();

  Stream& stream_;
  const LinkOptions options_;
  std::mutex sending_;
  std::vector<std::unique_ptr<wire::Packer>> packers_;  // guarded by packing_
  std::mutex packing_;
  std::atomic<bool> broken_{false};
  std::atomic<double> rate_{0};                         // bytes a second that the link took lately
  std::atomic<std::uint64_t> bytes_sent_{0};
  std::atomic<std::uint64_t> bytes_received_{0};
};

// Both ends say hello at once; the answer is the peer's. Within ten seconds.
Hello greet(Link& link, Stream& stream, const Hello& hello);

}  // namespace r3::sync
