// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/frame.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_frame.hpp"

namespace r3::sync {

namespace {

constexpr std::string_view kMagic{"r3sync/1", 8};
constexpr std::size_t kSummed = 24;          // bytes of the header before its checksum
constexpr std::size_t kAnnouncementHead = 24;

void require(bool fits, const char* otherwise) {
  if (!fits) throw ProtocolError(otherwise);
}

std::uint64_t number(ConstBytes from, std::size_t at) { return load_le<std::uint64_t>(&from[at]); }

}  // namespace

void store_header(std::byte* to, const Header& header, ConstBytes payload) {
  to[0] = static_cast<std::byte>(header.type);
  to[1] = static_cast<std::byte>(header.flags);
  store_le<std::uint16_t>(to + 2, 0);
  store_le(to + 4, static_cast<std::uint32_t>(payload.size()));
  store_le(to + 8, header.file);
  store_le(to + 12, header.aux);
  store_le(to + 16, header.epoch);
  store_le(to + kSummed, checksum({to, kSummed}, payload));
}

Header load_header(const std::byte* from) {
  Header header;
  header.type = static_cast<Type>(from[0]);
  header.flags = std::to_integer<std::uint8_t>(from[1]);
  header.payload = load_le<std::uint32_t>(from + 4);
  header.file = load_le<std::uint32_t>(from + 8);
  header.aux = load_le<std::uint32_t>(from + 12);
  header.epoch = load_le<std::uint64_t>(from + 16);
  require(header.type >= Type::hello && header.type <= Type::error &&
              load_le<std::uint16_t>(from + 2) == 0 && header.payload <= kMostPayload &&
              header.file < kMostFiles,
          "the peer does not speak this protocol, or bytes were damaged on the way");
  return header;
}

void check_sum(const std::byte* header, ConstBytes payload) {
  require(load_le<std::uint64_t>(header + kSummed) == checksum({header, kSummed}, payload),
          "a frame was damaged on the way");
}

std::vector<std::byte> encode(const Hello& hello) {
  std::vector<std::byte> out(kHelloSize);
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  out[8] = static_cast<std::byte>(hello.role);
  store_le(&out[16], hello.instance);
  std::memcpy(&out[32], hello.secret.data(), kSecretSize);
  return out;
}

Hello decode_hello(ConstBytes payload) {
  require(payload.size() == kHelloSize && std::memcmp(payload.data(), kMagic.data(), kMagic.size()) == 0,
          "the peer speaks another version of this protocol");
  Hello hello;
  hello.role = static_cast<Role>(payload[8]);
  require(hello.role >= Role::send && hello.role <= Role::hub, "a peer without a role");
  hello.instance = number(payload, 16);
  std::memcpy(hello.secret.data(), &payload[32], kSecretSize);
  return hello;
}

std::vector<std::byte> encode(const Announcement& file) {
  std::vector<std::byte> out(kAnnouncementHead + file.name.size());
  store_le(&out[0], file.geometry.size);
  store_le(&out[8], file.generation);
  store_le(&out[16], file.geometry.chunk);
  std::memcpy(out.data() + kAnnouncementHead, file.name.data(), file.name.size());
  return out;
}

Announcement decode_announcement(ConstBytes payload) {
  require(payload.size() > kAnnouncementHead && payload.size() <= kAnnouncementHead + kMostName,
          "a file without a name, or with an endless one");
  Announcement file;
  file.geometry = {number(payload, 0), load_le<std::uint32_t>(&payload[16])};
  file.generation = number(payload, 8);
  file.name = as_text(payload.subspan(kAnnouncementHead));
  require(acceptable(file.geometry), "a file of an impossible size");
  return file;
}

std::vector<std::byte> encode(const Two& two) {
  std::vector<std::byte> out(16);
  store_le(&out[0], two.first);
  store_le(&out[8], two.second);
  return out;
}

Two decode_two(ConstBytes payload) {
  require(payload.size() == 16, "a message of the wrong length");
  return {number(payload, 0), number(payload, 8)};
}

std::vector<std::byte> encode(std::uint64_t first, std::span<const Hash> hashes) {
  std::vector<std::byte> out(8 + hashes.size() * sizeof(Hash));
  store_le(&out[0], first);
  for (std::size_t i = 0; i < hashes.size(); ++i) store_hash(&out[8 + i * sizeof(Hash)], hashes[i]);
  return out;
}

std::vector<Hash> decode_hashes(ConstBytes payload, std::uint64_t first, std::uint64_t count) {
  require(payload.size() == 8 + count * sizeof(Hash) && number(payload, 0) == first,
          "other hashes than were asked for");
  std::vector<Hash> hashes(count);
  for (std::size_t i = 0; i < count; ++i) hashes[i] = load_hash(&payload[8 + i * sizeof(Hash)]);
  return hashes;
}

std::vector<Entry> decode_entries(const Header& header, ConstBytes payload, const Geometry& geometry,
                                  std::size_t& length) {
  const bool zeroes = header.flags == wire::kZeroes;
  require(header.aux > 0 && header.aux <= kZeroBatch && payload.size() >= header.aux * kEntrySize,
          "chunks of an impossible number");
  std::vector<Entry> entries(header.aux);
  length = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::byte* const from = &payload[i * kEntrySize];
    entries[i] = {load_le<std::uint64_t>(from), load_hash(from + 8)};
    require(entries[i].index < geometry.chunks(), "a chunk behind the end of its file");
    length += geometry.length(entries[i].index);
    require(zeroes ? entries[i].hash == Hash{} : length <= kMostChunk, "more bytes than one frame has");
  }
  return entries;
}

void store_entries(std::byte* to, std::span<const Entry> entries) {
  for (const Entry& entry : entries) {
    store_le(to, entry.index);
    store_hash(to + 8, entry.hash);
    to += kEntrySize;
  }
}

std::string printable(std::string_view text) {
  std::string shown(text.substr(0, kMostText));
  std::replace_if(shown.begin(), shown.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return shown;
}

}  // namespace r3::sync
