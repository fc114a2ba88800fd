// SPDX-License-Identifier: Apache-2.0
// The frames of r3/1 (r3-protocol(7)) as bytes: headers, the two HELLO payloads, checksums; r3_frame_reader.hpp
// cuts a stream into them. Pure: no descriptors, no threads, so that a fuzzer can call it. What a frame means is
// the business of the two sides.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "libcommon/base/bytes.hpp"

namespace r3::wire {

inline constexpr std::size_t kPreambleSize = 8;
// 'R' '3' 'P' 1 and four zeroes opens plain mode.
inline constexpr std::array<unsigned char, kPreambleSize> kPlainPreamble = {'R', '3', 'P', 1,
                                                                            0,   0,   0,   0};
inline constexpr std::uint16_t kVersion = 1;

enum class Type : std::uint8_t {
  hello = 1, read, write, zero, discard, flush, extents, hash, ping, status,
  track = 32, finalize, commit, abort, close, dirty,
};
inline constexpr std::uint8_t kReply = 0x80;  // added to the type of the request

enum Flag : std::uint8_t {
  kBackground = 0x01,  // READ, HASH: give way to everything else
  kMore = 0x02,        // READ reply: further pieces follow
  kZeroes = 0x04,      // no payload: `length` zero bytes
  kRepeat = 0x08,      // the payload is 8 bytes that repeat for `length` bytes
  kZstd = 0x10,        // the payload is a zstd frame of `length` bytes
  kKeep = 0x20,        // ZERO: do not make a hole
  kFast = 0x40,        // ZERO: only if it is fast
};

struct Header {
  std::uint8_t type = 0;
  std::uint8_t flags = 0;
  std::uint16_t error = 0;
  std::uint32_t payload = 0;  // bytes that follow
  std::uint64_t id = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t aux = 0;
};
inline constexpr std::size_t kHeaderSize = 32;
inline constexpr std::size_t kSumsSize = 16;  // of the payload, of the header: plain mode only
inline constexpr std::size_t kMaxPrelude = kHeaderSize + kSumsSize;

// Data travel in pieces of at most this many bytes, so that a small reply never waits for more.
inline constexpr std::uint32_t kPiece = 64 * KiB;
inline constexpr std::uint32_t kMaxTransfer = 32 * MiB;   // of any READ or WRITE
inline constexpr std::uint32_t kMaxExtents = 4096;        // in a reply
inline constexpr std::uint32_t kMaxHashes = 4096;         // in a reply
inline constexpr std::uint32_t kMaxHashRange = 1 * GiB;
inline constexpr std::size_t kMaxExportName = 255;

void store(std::byte* to, const Header& header);
Header load(const std::byte* from);

struct Hello {  // request
  std::uint16_t version = kVersion;
  std::uint32_t features = 0;
  std::array<std::byte, 16> session{};  // random; the same for all connections of a client
  std::uint32_t slot = 0;               // which of the client's connections this is
  std::uint32_t generation = 0;         // grows with each dial of the slot
  std::uint32_t flags = 0;
  std::string name = {};                // of the export
};
inline constexpr std::size_t kHelloSize = 40;  // then the name
inline constexpr std::uint32_t kHelloReadOnly = 1;
inline constexpr std::uint32_t kHelloOnlyWriter = 2;

struct Welcome {  // its reply
  std::uint16_t version = kVersion;
  std::uint16_t flags = 0;
  std::uint32_t features = 0;
  std::uint64_t verifier = 0;
  std::uint64_t size = 0;
  std::uint64_t instance = 0;  // changes when the content was lost; 0: it outlives the server
  std::uint32_t block_size = 1;
  std::uint32_t max_transfer = 0;
  std::uint32_t max_requests = 0;  // credits
  std::uint32_t max_bytes = 0;     // credits
  std::uint64_t token = 0;         // of this session's writes; 0: none, or a server that has no fence
};
inline constexpr std::size_t kWelcomeSize = 48;  // and the token after it
inline constexpr std::uint16_t kWelcomeReadOnly = 1;

enum Feature : std::uint32_t { kFeatureZstd = 1, kFeatureHash = 2, kFeatureExtents = 4,
                               kFeatureZero = 8, kFeatureDiscard = 16, kFeatureFence = 32,
                               kFeatureMigration = 64 };

constexpr bool is_migration(Type type) { return type >= Type::track && type <= Type::dirty; }

std::string encode(const Hello& hello);
std::string encode(const Welcome& welcome);
// Throw ProtocolError for what r3-protocol(7) does not allow.
Hello decode_hello(ConstBytes payload);
Welcome decode_welcome(ConstBytes payload);

std::uint64_t checksum(ConstBytes bytes, std::uint64_t seed = 0);
std::array<std::byte, 16> chunk_hash(ConstBytes bytes);  // XXH3-128, canonical (big-endian) order

// The largest payload that a frame with this header may have, from its type and flags alone.
enum class Side { server, client };  // of the receiver
std::uint32_t payload_limit(const Header& header, Side receiver, std::uint32_t max_transfer);

// Writes header and sums to `to` (kMaxPrelude bytes); returns how many it wrote. `sequence` is the number of
// the frame in its direction: it makes a duplicated, dropped or reordered frame fail its check.
std::size_t store_prelude(std::byte* to, const Header& header, ConstBytes payload, bool sums,
                          std::uint64_t sequence);
// Of a prelude with sums (kMaxPrelude bytes): ProtocolError if the header's is wrong; returns the payload's.
std::uint64_t check_prelude(const std::byte* from, std::uint64_t sequence);

}  // namespace r3::wire
