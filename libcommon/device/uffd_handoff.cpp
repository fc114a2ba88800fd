// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/uffd_handoff.hpp"

#include <algorithm>

#include "libcommon/base/error.hpp"

namespace r3::uffd {

namespace {

enum RegionFlag : std::uint32_t { kWritable = 1 };
enum MapFlag : std::uint32_t { kKeepsDuplicate = 1, kServedBefore = 2, kTrack = 4, kKnownMapFlags = 7 };

void want(ConstBytes bytes, std::size_t size, const char* what) {
  if (bytes.size() != size)
    throw ProtocolError(std::string(what) + " has " + std::to_string(bytes.size()) + " bytes instead of " +
                        std::to_string(size));
}

std::vector<std::byte> message(Type type, std::size_t payload, std::uint16_t count = 0, std::uint32_t error = 0) {
  std::vector<std::byte> bytes(Header::kSize + payload);
  store_le(&bytes[0], kMagic);
  store_le(&bytes[4], static_cast<std::uint16_t>(type));
  store_le(&bytes[6], count);
  store_le(&bytes[8], static_cast<std::uint32_t>(payload));
  store_le(&bytes[12], error);
  return bytes;
}

}  // namespace

std::optional<Protocol> protocol_of(ConstBytes bytes) {
  if (bytes.empty()) return {};
  if (bytes[0] == std::byte{'['}) return Protocol::firecracker;
  if (bytes[0] == std::byte{'r'}) return Protocol::own;
  if (bytes.size() < kOriginalSize) return {};
  return Protocol::original;
}

Header parse_header(ConstBytes bytes) {
  want(bytes, Header::kSize, "a message's header");
  if (load_le<std::uint32_t>(&bytes[0]) != kMagic) throw ProtocolError("this is not the hand-off protocol");
  const auto type = load_le<std::uint16_t>(&bytes[4]);
  if (type < static_cast<std::uint16_t>(Type::hello) || type > static_cast<std::uint16_t>(Type::pushed))
    throw ProtocolError("message type " + std::to_string(type) + " is not known");
  Header header;
  header.type = static_cast<Type>(type);
  header.count = load_le<std::uint16_t>(&bytes[6]);
  header.length = load_le<std::uint32_t>(&bytes[8]);
  header.error = load_le<std::uint32_t>(&bytes[12]);
  if (header.length > kMostPayload)
    throw ProtocolError("a message of " + std::to_string(header.length) + " bytes is too long");
  return header;
}

Hello parse_hello(ConstBytes payload) {
  want(payload, Hello::kSize, "hello");
  const Hello hello{load_le<std::uint32_t>(&payload[0])};
  if (hello.version != kVersion)
    throw ProtocolError("version " + std::to_string(hello.version) + " is not spoken here, only " +
                        std::to_string(kVersion));
  return hello;
}

RegionInfo parse_region_info(ConstBytes payload) {
  want(payload, RegionInfo::kSize, "region");
  const auto flags = load_le<std::uint32_t>(&payload[16]);
  return {load_le<std::uint64_t>(&payload[0]), load_le<std::uint64_t>(&payload[8]), (flags & kWritable) != 0};
}

Map parse_map(const Header& header, ConstBytes payload) {
  want(payload, Map::kFixed + Map::kRange * std::size_t{header.count}, "map");
  const auto flags = load_le<std::uint32_t>(&payload[0]);
  if ((flags & ~std::uint32_t{kKnownMapFlags}) != 0) throw ProtocolError("map has flags that are not known");
  Map map{(flags & kKeepsDuplicate) != 0, (flags & kServedBefore) != 0, (flags & kTrack) != 0, {}};
  for (std::size_t at = Map::kFixed; at < payload.size(); at += Map::kRange)
    map.ranges.push_back({load_le<std::uint64_t>(&payload[at]), load_le<std::uint64_t>(&payload[at + 8]),
                          load_le<std::uint64_t>(&payload[at + 16]), load_le<std::uint64_t>(&payload[at + 24])});
  return map;
}

std::uint64_t parse_number(ConstBytes payload) {
  want(payload, 8, "pushed");
  return load_le<std::uint64_t>(&payload[0]);
}

std::vector<std::byte> hello_message() {
  auto bytes = message(Type::hello, Hello::kSize);
  store_le(&bytes[Header::kSize], kVersion);
  return bytes;
}

std::vector<std::byte> region_message(const RegionInfo& info) {
  auto bytes = message(Type::region, RegionInfo::kSize);
  std::byte* at = &bytes[Header::kSize];
  store_le(at, info.size);
  store_le(at + 8, info.chunk);
  store_le(at + 16, info.writable ? std::uint32_t{kWritable} : 0u);
  return bytes;
}

std::vector<std::byte> map_message(const Map& map) {
  auto bytes = message(Type::map, Map::kFixed + Map::kRange * map.ranges.size(),
                       static_cast<std::uint16_t>(map.ranges.size()));
  std::byte* at = &bytes[Header::kSize];
  store_le(at, (map.keeps_duplicate ? kKeepsDuplicate : 0u) | (map.served_before ? kServedBefore : 0u) |
                   (map.track ? kTrack : 0u));
  at += Map::kFixed;
  for (const UffdRange& range : map.ranges) {
    for (const auto value : {range.address, range.length, range.offset, range.page_size}) {
      store_le(at, value);
      at += sizeof value;
    }
  }
  return bytes;
}

std::vector<std::byte> ready_message() {
  return message(Type::ready, 0);
}

std::vector<std::byte> refused_message(int error, std::string_view text) {
  text = text.substr(0, kMostPayload);
  auto bytes = message(Type::refused, text.size(), 0, static_cast<std::uint32_t>(error));
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(bytes.data()) + Header::kSize);
  return bytes;
}

std::vector<std::byte> push_message() {
  return message(Type::push, 0);
}

std::vector<std::byte> pushed_message(int error, std::uint64_t count) {
  auto bytes = message(Type::pushed, 8, 0, static_cast<std::uint32_t>(error));
  store_le(&bytes[Header::kSize], count);
  return bytes;
}

UffdRange parse_original(ConstBytes bytes, std::uint64_t region_size) {
  want(bytes, kOriginalSize, "an address");
  return {load_be<std::uint64_t>(bytes.data()), round_up(region_size, 4 * KiB), 0, 4 * KiB};
}

}  // namespace r3::uffd
