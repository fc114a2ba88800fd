// SPDX-License-Identifier: Apache-2.0
// What travels between two ends, byte for byte (mmap-hashsync(1), PROTOCOL): frames with a header of 32 bytes,
// and what their payloads hold. Everything that is read here was written by somebody else: what does not fit
// throws ProtocolError. Knows no stream.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/mmap-hashsync/batch.hpp"

namespace r3::sync {

enum class Type : std::uint8_t {
  hello = 1,   // both ways, first
  file = 2,    // source to destination: this file will be kept in step
  ask = 3,     // source to destination: what are your hashes
  hashes = 4,  // the answer, and the answer to `file`
  resize = 5,  // source to destination: the file's size at the end of this epoch
  data = 6,    // source to destination: chunks
  commit = 7,  // source to destination: the epoch is whole
  done = 8,    // destination to source: the epoch was taken over
  bye = 9,     // both ways, last
  error = 10,  // both ways, last: a text
};

inline constexpr std::uint32_t kMayRetry = 1;  // aux of error: another try may go better
inline constexpr std::uint32_t kNothingDone = 1;  // aux of bye: the source only looked

enum class Role : std::uint8_t { send = 1, receive = 2, hub = 3 };

inline constexpr std::size_t kHeaderSize = 32;
inline constexpr std::size_t kEntrySize = 24;
inline constexpr std::size_t kHelloSize = 224;
inline constexpr std::size_t kMostHashes = 32'768;   // in one frame
inline constexpr std::size_t kMostName = 4095;
inline constexpr std::size_t kMostText = 1024;
inline constexpr std::size_t kMostPayload = kMostChunk + kZeroBatch * kEntrySize;
inline constexpr std::uint32_t kMostFiles = 4096;    // of one connection

struct Header {
  Type type{};
  std::uint8_t flags = 0;     // of data: the forms of r3_payload.hpp
  std::uint32_t payload = 0;  // bytes
  std::uint32_t file = 0;
  std::uint32_t aux = 0;      // data: chunks; ask, hashes: the level
  std::uint64_t epoch = 0;
};

struct Frame {
  Header header;
  std::vector<std::byte> payload;
};

// `to` has kHeaderSize bytes.
void store_header(std::byte* to, const Header& header, ConstBytes payload);
// Checks what can be checked without the payload.
Header load_header(const std::byte* from);
// Throws if header or payload were damaged on the way.
void check_sum(const std::byte* header, ConstBytes payload);

struct Hello {
  Role role{};
  std::uint64_t instance = 0;  // of the process: the same when it connects again
  HashSecret secret{};
};
std::vector<std::byte> encode(const Hello& hello);
Hello decode_hello(ConstBytes payload);

struct Announcement {
  Geometry geometry;
  std::uint64_t generation = 0;
  std::string name;
};
std::vector<std::byte> encode(const Announcement& file);
Announcement decode_announcement(ConstBytes payload);

// ask and resize have two numbers: (first, count), (size, generation).
struct Two {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};
std::vector<std::byte> encode(const Two& two);
Two decode_two(ConstBytes payload);

std::vector<std::byte> encode(std::uint64_t first, std::span<const Hash> hashes);
// `first` is what was asked for; so many hashes have to be there.
std::vector<Hash> decode_hashes(ConstBytes payload, std::uint64_t first, std::uint64_t count);

// The entries at the beginning of the payload of `data`, all of them chunks of a file of that geometry; the
// length of their bytes when unpacked goes to `length`.
std::vector<Entry> decode_entries(const Header& header, ConstBytes payload, const Geometry& geometry,
                                  std::size_t& length);
void store_entries(std::byte* to, std::span<const Entry> entries);

// A peer's text as it may be shown: printable, not endless.
std::string printable(std::string_view text);

}  // namespace r3::sync
