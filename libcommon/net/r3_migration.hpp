// SPDX-License-Identifier: Apache-2.0
// The requests of r3/1 that move a region (r3-protocol(7), MIGRATION) as bytes, and what a server asks to
// answer them. Knows neither who owns what nor when: seeder.hpp and leecher.hpp do.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "libcommon/net/r3_frame.hpp"
#include "libcommon/storage/tracked.hpp"

namespace r3 {

namespace wire {

// One leecher's attempt; random, and on its disk.
using LeecherId = std::array<std::byte, 16>;

struct MigrationRequest {
  LeecherId leecher{};
  std::uint64_t token = 0;  // COMMIT, ABORT, CLOSE: what FINALIZE answered
  std::uint32_t round = 0;  // DIRTY, FINALIZE: one more than the last that was answered
  std::uint32_t lease = 0;  // FINALIZE: ms within which COMMIT will come
  std::uint32_t from = 0;   // DIRTY, FINALIZE: the group with which the answer begins
  std::uint32_t flags = 0;
  friend bool operator==(const MigrationRequest&, const MigrationRequest&) = default;
};
inline constexpr std::uint32_t kPeek = 1;  // DIRTY: only how many, nothing is taken

struct MigrationReply {
  std::uint64_t token = 0;    // FINALIZE, COMMIT
  std::uint32_t round = 0;
  std::uint32_t lease = 0;    // FINALIZE: ms that are left
  std::uint32_t next = 0;     // the group with which the next page begins; 0: there is none
  std::uint64_t written = 0;  // DIRTY: blocks, of the whole round or with kPeek since it
  std::uint64_t stopped = 0;  // FINALIZE: microseconds since the application was told to stop
  std::uint64_t changed = 0;  // DIRTY with kPeek: bytes of all writes since the seeder began to track
  WrittenBlocks blocks;       // DIRTY, FINALIZE
  friend bool operator==(const MigrationReply&, const MigrationReply&) = default;
};

// Without blocks, both.
inline constexpr std::size_t kMigrationSize = 48;
inline constexpr std::size_t kWrittenGroupSize = 12;
inline constexpr std::size_t kMaxWrittenGroups = 65536;  // in a reply: 16 GiB of the region
inline constexpr std::size_t kMaxMigrationReply =
    kMigrationSize + kMaxWrittenGroups * kWrittenGroupSize;

std::vector<std::byte> encode(const MigrationRequest& request);
std::vector<std::byte> encode(const MigrationReply& reply);
// Throw ProtocolError for what r3-protocol(7) does not allow.
MigrationRequest decode_migration_request(ConstBytes payload);
MigrationReply decode_migration_reply(ConstBytes payload);

}  // namespace wire

// What a seeder is to an R3Server.
class R3Migration {
 public:
  virtual ~R3Migration() = default;
  // Any thread; may wait. Throws std::system_error with what the leecher is to be told.
  virtual wire::MigrationReply answer(wire::Type type, const wire::MigrationRequest& request) = 0;
};

}  // namespace r3
