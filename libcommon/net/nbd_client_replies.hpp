// SPDX-License-Identifier: Apache-2.0
// Reads the replies of an NBD server (doc/proto.md, "Transmission phase"), simple and structured, and
// puts what they carry into the calls that they answer. Takes nothing from the server on trust: no byte
// is stored that was not asked for, nothing twice, and a read is done only when all of it has come.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "libcommon/base/spin.hpp"
#include "libcommon/net/nbd_client_call.hpp"
#include "libcommon/net/nbd_client_handshake.hpp"

namespace r3::nbd {

// The calls that wait for an answer.
class CallTable {
 public:
  virtual ~CallTable() = default;
  // Throws ProtocolError if no call that waits has this cookie.
  virtual Call& find(std::uint64_t cookie) = 0;
  // The answer is complete: the call is not touched any more.
  virtual void complete(std::uint64_t cookie) = 0;
};

class ReplyReader {
 public:
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  // Borrows all three.
  ReplyReader(int socket, const Agreement& agreement, CallTable& calls);

  // Reads one reply, or one chunk of a reply. Throws ProtocolError for nonsense, std::system_error when
  // the connection ends, or nothing comes before the deadline (ETIMEDOUT).
  void read_one(Deadline deadline);
  // Whether the next one is here already: read_one() will not wait.
  bool has_one() const;

 private:
  void read_simple(std::uint32_t error, std::uint64_t cookie);
  void read_chunk(const ChunkHeader& header);
  void take_data(Call& call, std::uint32_t length);
  void take_hole(Call& call, std::uint32_t length);
  void take_status(Call& call, std::uint32_t length);
  void take_error(Call& call, std::uint16_t type, std::uint32_t length);
  Bytes place_for(Call& call, std::uint64_t offset, std::uint64_t length);
  void finish(Call& call, std::uint64_t cookie);

  void read(Bytes into);
  void skip(std::uint64_t length);
  std::size_t receive(Bytes into);
  template <class Struct>
  Struct read() {
    Struct value;
    read(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  const int socket_;
  const Agreement& agreement_;
  CallTable& calls_;
  Deadline deadline_;
  Spin spin_;
  std::vector<std::byte> buffer_;  // received, not yet read: [begin_, end_)
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace r3::nbd
