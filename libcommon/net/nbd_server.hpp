// SPDX-License-Identifier: Apache-2.0
// The server's side of NBD (github.com/NetworkBlockDevice/nbd, doc/proto.md, with the extension
// EXTENDED_HEADERS): handshake and transmission on one connection, for any Backend.
//
// One thread a connection: it reads a buffer full of requests, answers all that need not wait with one
// sendmsg, and hands to worker threads of the connection only what has to wait. Memory is taken as
// bytes arrive, not as a header promises.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/socket.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct NbdExport {
  std::string name;         // "" is the default export
  std::string description;
  Backend* backend = nullptr;  // borrowed
  bool read_only = false;
};

struct NbdServerOptions {
  std::uint32_t minimum_block = 1;
  std::uint32_t preferred_block = 4096;
  std::uint32_t maximum_block = 32 * MiB;
  std::chrono::milliseconds handshake_timeout{10'000};
  bool multi_conn = true;   // a client may open several connections to an export
  unsigned workers = 16;    // threads a connection may have waiting in a backend
  // Bytes that writes of more than 1 MiB may take in files until they are complete and made: all connections
  // together, an equal share for each export, of at least maximum_block.
  std::uint64_t spool = 1024 * MiB;
};

// What the block sizes are called where they come from.
struct NbdSizeNames {
  std::string minimum = "minimum block size";
  std::string preferred = "preferred block size";
  std::string maximum = "maximum block size";
};

// Throws std::invalid_argument for block sizes and names that the protocol does not allow. Does not look at
// the backends, which need not be there yet.
void check_usage(const std::vector<NbdExport>& exports, const NbdServerOptions& options,
                 const NbdSizeNames& names = {});

// Since the server was made.
struct NbdTotals {
  std::uint64_t requests = 0;
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;
};

class NbdServer {
 public:
  // Throws what check_usage() throws.
  NbdServer(std::vector<NbdExport> exports, NbdServerOptions options);
  ~NbdServer();

  // Serves one connection until the client leaves or the stop is requested: requests that have been
  // received are then finished and answered. Throws ProtocolError when the client sent nonsense, and
  // ETIMEDOUT when the handshake took too long. Any number of threads may be in here at once.
  void serve(Channel channel, const Stop& stop);
  // The same for a connection that came by itself (stdin and stdout, a descriptor): its client is told
  // not to open others, which would reach another server.
  void serve_only(Channel channel, const Stop& stop);

  // Transmission only, without a handshake, as the kernel's client wants it on a socket pair.
  void serve_attached(Channel channel, const NbdExport& exported, const Stop& stop);
  // The transmission flags that such a client has to be told.
  std::uint16_t attached_flags(const NbdExport& exported) const;

  // Any thread.
  NbdTotals totals() const;

 private:
  struct Shared;
  void serve(Channel channel, const Stop& stop, const NbdServerOptions& options);
  std::vector<NbdExport> exports_;
  NbdServerOptions options_;
  std::unique_ptr<Shared> shared_;
};

}  // namespace r3
