// SPDX-License-Identifier: Apache-2.0
// An export of an r3/1 server as a Backend: requests in flight on one or several connections, which are
// dialled again when they break, with what was not answered sent again. Writes that were answered but not
// yet flushed are kept, and sent again to a server that was started anew. Never gives wrong bytes: a server
// whose export is another one makes everything fail with ESTALE. Knows nothing of keys or addresses.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libcommon/net/r3_link.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

class R3Keeper;
namespace wire {
enum class Type : std::uint8_t;
struct MigrationReply;
struct MigrationRequest;
}  // namespace wire
class R3Session;
class R3Slot;
struct R3Call;

struct R3Dialled {
  std::unique_ptr<Link> link;  // after the preamble and the handshake
  bool sums = true;            // plain mode
  bool nearby = false;         // both ends on one machine
};

// Makes a connection, or throws; gives up on stop and at `until`. Any thread may call it at any time.
using R3Dial = std::function<R3Dialled(const Stop& stop, std::chrono::steady_clock::time_point until)>;

// Whether data may be compressed where that pays.
enum class Compress {
  remote,  // unless both ends are on one machine
  yes,     // even then: a local address can be a tunnel
  no,
};

struct R3ClientOptions {
  std::string server = "r3 server";  // what messages call it: its address
  std::string export_name = {};
  unsigned connections = 1;
  bool read_only = false;
  bool only_writer = false;  // older writers are fenced off: their changes fail with ESTALE
  Compress compress = Compress::remote;
  std::chrono::milliseconds connect_timeout{10'000};
  // When the server has been silent for this long, whoever waits gets EIO, and so does whoever comes before
  // it is heard again; 0 waits for ever.
  std::chrono::milliseconds io_timeout{0};
  std::uint64_t replay_limit = 64 * MiB;    // of writes that are kept until a flush
  // Called by any thread when the connection is lost, and when it is back. Must not call the client.
  std::function<void(bool connected)> on_change = {};
};

class R3Client : public Backend {
 public:
  // Connects; throws what the dial throws, std::system_error when the server refuses, ProtocolError.
  R3Client(R3Dial dial, const R3ClientOptions& options);
  ~R3Client() override;

  std::uint64_t size() const override;
  std::uint64_t block_size() const override;
  bool read_only() const override;
  // Of the content: another one when the server has lost it; 0: it outlives the server.
  std::uint64_t instance() const;
  // Whether the server fences off older writers, as `only_writer` asks.
  bool is_fenced() const;
  // Of the last HELLO.
  std::chrono::nanoseconds round_trip() const;
  void read_at(Bytes into, std::uint64_t offset) override;
  void write_at(ConstBytes from, std::uint64_t offset) override;
  void flush() override;
  void zero_at(std::uint64_t offset, std::uint64_t length, ZeroHow how = {}) override;
  void discard_at(std::uint64_t offset, std::uint64_t length) override;
  std::vector<Extent> extents(std::uint64_t offset, std::uint64_t length, std::size_t most) override;
  void read_background(Bytes into, std::uint64_t offset) override;
  void abandon() noexcept override;

  // EOPNOTSUPP if the server cannot. XXH3-128 (canonical form) of each chunk of the range; the last may be short.
  std::vector<std::array<std::byte, 16>> hash(std::uint64_t offset, std::uint64_t length,
                                              std::uint32_t chunk);

  // A request that moves the region (r3_migration.hpp); throws EOPNOTSUPP if the server does not say that
  // it can be.
  wire::MigrationReply ask(wire::Type type, const wire::MigrationRequest& request);

  // For who keeps many reads in flight with one thread: `call` and `into` stay until wait() returned or
  // threw, which has to be called for each. With `more`, sending may wait for the next start or wait.
  void start_read(R3Call& call, Bytes into, std::uint64_t offset, bool background, bool more);
  void wait(R3Call& call);

 private:
  bool server_has(std::uint32_t feature) const;
  void transfer(Bytes into, std::uint64_t offset, bool background);
  void start_write(R3Call& call, ConstBytes from, std::uint64_t offset);
  void change(R3Call& call);
  void finish_change(R3Call& call);
  R3Slot& pick();

  std::unique_ptr<R3Session> session_;
  std::vector<std::unique_ptr<R3Slot>> slots_;
  std::unique_ptr<R3Keeper> keeper_;
  std::atomic<unsigned> turn_{0};
};

}  // namespace r3
