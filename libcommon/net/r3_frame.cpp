// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_frame.hpp"

#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#endif

#include <algorithm>
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_migration.hpp"

namespace r3::wire {

namespace {

// Where each field of the header lies; r3-protocol(7) has the same table.
enum At : std::size_t { kType = 0, kFlags = 1, kError = 2, kPayload = 4, kId = 8, kOffset = 16,
                        kLength = 24, kAux = 28, kPayloadSum = 32, kHeaderSum = 40 };
static_assert(kAux + sizeof(Header::aux) == kHeaderSize);
static_assert(kHeaderSum + sizeof(std::uint64_t) == kMaxPrelude);
static_assert(sizeof(Header) == kHeaderSize);

}  // namespace

std::uint64_t checksum(ConstBytes bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::array<std::byte, 16> chunk_hash(ConstBytes bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<std::byte, 16> out;
  std::memcpy(out.data(), canonical.digest, out.size());
  return out;
}

void store(std::byte* to, const Header& h) {
  to[kType] = std::byte{h.type};
  to[kFlags] = std::byte{h.flags};
  store_le(to + kError, h.error);
  store_le(to + kPayload, h.payload);
  store_le(to + kId, h.id);
  store_le(to + kOffset, h.offset);
  store_le(to + kLength, h.length);
  store_le(to + kAux, h.aux);
}

Header load(const std::byte* from) {
  Header h;
  h.type = std::to_integer<std::uint8_t>(from[kType]);
  h.flags = std::to_integer<std::uint8_t>(from[kFlags]);
  h.error = load_le<std::uint16_t>(from + kError);
  h.payload = load_le<std::uint32_t>(from + kPayload);
  h.id = load_le<std::uint64_t>(from + kId);
  h.offset = load_le<std::uint64_t>(from + kOffset);
  h.length = load_le<std::uint32_t>(from + kLength);
  h.aux = load_le<std::uint32_t>(from + kAux);
  return h;
}

std::string encode(const Hello& hello) {
  std::array<std::byte, kHelloSize> fixed{};
  store_le(fixed.data(), hello.version);
  store_le(fixed.data() + 4, hello.features);
  std::copy(hello.session.begin(), hello.session.end(), fixed.begin() + 8);
  store_le(fixed.data() + 24, hello.slot);
  store_le(fixed.data() + 28, hello.generation);
  store_le(fixed.data() + 32, hello.flags);
  return std::string(as_text(fixed)) + hello.name;
}

Hello decode_hello(ConstBytes payload) {
  if (payload.size() < kHelloSize || payload.size() > kHelloSize + kMaxExportName)
    throw ProtocolError("HELLO of the wrong length");
  Hello hello;
  hello.version = load_le<std::uint16_t>(payload.data());
  hello.features = load_le<std::uint32_t>(payload.data() + 4);
  std::copy_n(payload.begin() + 8, hello.session.size(), hello.session.begin());
  hello.slot = load_le<std::uint32_t>(payload.data() + 24);
  hello.generation = load_le<std::uint32_t>(payload.data() + 28);
  hello.flags = load_le<std::uint32_t>(payload.data() + 32);
  hello.name = as_text(payload.subspan(kHelloSize));
  return hello;
}

std::string encode(const Welcome& welcome) {
  std::array<std::byte, kWelcomeSize + 8> out{};
  store_le(out.data(), welcome.version);
  store_le(out.data() + 2, welcome.flags);
  store_le(out.data() + 4, welcome.features);
  store_le(out.data() + 8, welcome.verifier);
  store_le(out.data() + 16, welcome.size);
  store_le(out.data() + 24, welcome.instance);
  store_le(out.data() + 32, welcome.block_size);
  store_le(out.data() + 36, welcome.max_transfer);
  store_le(out.data() + 40, welcome.max_requests);
  store_le(out.data() + 44, welcome.max_bytes);
  store_le(out.data() + 48, welcome.token);
  return std::string(as_text(out));
}

Welcome decode_welcome(ConstBytes payload) {
  if (payload.size() < kWelcomeSize) throw ProtocolError("HELLO reply too short");
  const std::byte* at = payload.data();
  Welcome w;
  w.version = load_le<std::uint16_t>(at);
  w.flags = load_le<std::uint16_t>(at + 2);
  w.features = load_le<std::uint32_t>(at + 4);
  w.verifier = load_le<std::uint64_t>(at + 8);
  w.size = load_le<std::uint64_t>(at + 16);
  w.instance = load_le<std::uint64_t>(at + 24);
  w.block_size = load_le<std::uint32_t>(at + 32);
  w.max_transfer = load_le<std::uint32_t>(at + 36);
  w.max_requests = load_le<std::uint32_t>(at + 40);
  w.max_bytes = load_le<std::uint32_t>(at + 44);
  if (payload.size() >= kWelcomeSize + 8) w.token = load_le<std::uint64_t>(at + 48);
  if (w.version != kVersion) throw ProtocolError("the server speaks another version of r3");
  if (w.size > INT64_MAX) throw ProtocolError("the server names a size past 2^63");
  if (!std::has_single_bit(w.block_size) || w.block_size > 64 * MiB)
    throw ProtocolError("the server names an impossible block size");
  if (w.max_transfer < 4 * KiB || w.max_transfer > kMaxTransfer || w.max_requests == 0 ||
      w.max_bytes < w.max_transfer)
    throw ProtocolError("the server names impossible limits");
  return w;
}

std::uint32_t payload_limit(const Header& header, Side receiver, std::uint32_t max_transfer) {
  const bool reply = (header.type & kReply) != 0;
  if (reply == (receiver == Side::server)) throw ProtocolError("a frame in the wrong direction");
  if (header.error != 0) return 0;
  switch (static_cast<Type>(header.type & ~kReply)) {
    case Type::hello: return reply ? 256 : kHelloSize + kMaxExportName;
    case Type::read: return reply ? std::min(header.length, kPiece) : 0;
    case Type::write: return reply ? 0 : std::min(header.length, max_transfer);
    case Type::extents: return reply ? kMaxExtents * 16 : 0;
    case Type::hash: return reply ? kMaxHashes * 16 : 0;
    case Type::status: return reply ? 4096 : 0;
    case Type::track: case Type::finalize: case Type::commit: case Type::abort: case Type::close:
    case Type::dirty:
      return reply ? kMaxMigrationReply : kMigrationSize;
    default: return 0;
  }
}

std::size_t store_prelude(std::byte* to, const Header& header, ConstBytes payload, bool sums,
                          std::uint64_t sequence) {
  store(to, header);
  if (!sums) return kHeaderSize;
  store_le(to + kPayloadSum, payload.empty() ? 0 : checksum(payload));
  store_le(to + kHeaderSum, checksum({to, kHeaderSum}, sequence));
  return kMaxPrelude;
}

std::uint64_t check_prelude(const std::byte* from, std::uint64_t sequence) {
  if (load_le<std::uint64_t>(from + kHeaderSum) != checksum({from, kHeaderSum}, sequence))
    throw ProtocolError("a frame header fails its checksum");
  return load_le<std::uint64_t>(from + kPayloadSum);
}

}  // namespace r3::wire
