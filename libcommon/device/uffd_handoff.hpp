// SPDX-License-Identifier: Apache-2.0
// What a process says when it hands a userfaultfd over, as bytes: this project's own protocol
// (uffd-serve(1), HAND-OFF has the tables), that of userfaultfd-go, and that of Firecracker. Turns foreign
// bytes into values, or throws ProtocolError; knows no sockets and no memory. Any thread may call.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/device/uffd_layout.hpp"

namespace r3::uffd {

enum class Protocol { own, original, firecracker };

// Which protocol the first bytes of a connection are of; at least 8 are needed, unless the first one
// settles it. An address of the original never looks like the others: its first two bytes are zero.
std::optional<Protocol> protocol_of(ConstBytes bytes);

inline constexpr std::uint32_t kMagic = 0x66753372;  // "r3uf"
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kMostPayload = 64 * KiB;

enum class Type : std::uint16_t { hello = 1, region, map, ready, refused, push, pushed };

struct Header {
  static constexpr std::size_t kSize = 16;
  Type type = Type::hello;
  std::uint16_t count = 0;    // of ranges (map)
  std::uint32_t length = 0;   // of the payload that follows
  std::uint32_t error = 0;    // an errno (refused, pushed)
};

struct Hello {
  static constexpr std::size_t kSize = 16;
  std::uint32_t version = kVersion;
};

struct RegionInfo {
  static constexpr std::size_t kSize = 32;
  std::uint64_t size = 0;
  std::uint64_t chunk = 0;      // what a fault brings at least
  bool writable = false;        // writes can be tracked and pushed
};

struct Map {
  static constexpr std::size_t kFixed = 16;
  static constexpr std::size_t kRange = 32;
  bool keeps_duplicate = false;  // of the userfaultfd: if the server dies, the memory stays as it is
  bool served_before = false;    // another server may have answered some of it
  bool track = false;            // registered for write protection: push what is written
  std::vector<UffdRange> ranges;
};

Header parse_header(ConstBytes bytes);  // kSize bytes
Hello parse_hello(ConstBytes payload);
RegionInfo parse_region_info(ConstBytes payload);
Map parse_map(const Header& header, ConstBytes payload);
std::uint64_t parse_number(ConstBytes payload);  // pushed: bytes

// Whole messages.
std::vector<std::byte> hello_message();
std::vector<std::byte> region_message(const RegionInfo& info);
std::vector<std::byte> map_message(const Map& map);
std::vector<std::byte> ready_message();
std::vector<std::byte> refused_message(int error, std::string_view text);
std::vector<std::byte> push_message();
std::vector<std::byte> pushed_message(int error, std::uint64_t bytes);

// The original: 8 bytes, the address; the memory is as long as the region, or shorter.
inline constexpr std::size_t kOriginalSize = 8;
UffdRange parse_original(ConstBytes bytes, std::uint64_t region_size);

// Firecracker: [{"base_host_virt_addr":N,"size":N,"offset":N,"page_size":N}, ...]; other members are
// skipped. page_size may be page_size_kib, which holds bytes all the same, or be missing (4096).
// Nothing if the text is not complete yet.
std::optional<std::vector<UffdRange>> parse_firecracker(std::string_view text);

}  // namespace r3::uffd
