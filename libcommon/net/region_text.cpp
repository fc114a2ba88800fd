// SPDX-License-Identifier: Apache-2.0
// The grammar of regions: text to Region and back. URIs of NBD follow
// github.com/NetworkBlockDevice/nbd, doc/uri.md.
#include <algorithm>
#include <array>
#include <initializer_list>
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "libcommon/net/nbd_protocol.hpp"
#include "libcommon/net/r3_region.hpp"
#include "libcommon/net/region.hpp"
#include "libcommon/net/uri.hpp"

namespace r3 {

namespace {

constexpr std::uint64_t kLargest = (1ULL << 63) - 1;

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw std::invalid_argument("region \"" + std::string(text) + "\": " + why);
}

// Runs a parser of one part, and says which region a bad part belongs to.
template <class Parse>
auto part_of(std::string_view text, Parse parse) {
  try {
    return parse();
  } catch (const std::invalid_argument& error) {
    refuse(text, error.what());
  }
}

std::uint64_t parse_region_size(std::string_view text, std::string_view size) {
  const auto bytes = part_of(text, [&] { return parse_size(size); });
  if (bytes > kLargest) refuse(text, "no region is larger than 2^63-1 bytes");
  return bytes;
}

void take_parameters(std::string_view text, std::string_view& rest, Region& region,
                     std::initializer_list<std::string_view> known) {
  region.parameters = part_of(text, [&] { return take_uri_parameters(rest, known); });
}

void refuse_zero_bytes(std::string_view text, std::string_view part) {
  if (part.find('\0') != part.npos) refuse(text, "no zero byte is accepted there");
}

// "/EXPORT" or nothing: one slash only separates.
std::string parse_export(std::string_view text, std::string_view path) {
  if (path.starts_with('/')) path.remove_prefix(1);
  auto name = part_of(text, [&] { return percent_decode(path); });
  refuse_zero_bytes(text, name);
  if (name.size() > nbd::kLongestName) refuse(text, "the export's name is longer than 4096 bytes");
  return name;
}

std::string_view take_authority(std::string_view text, std::string_view& rest) {
  const auto authority = part_of(text, [&] { return take_uri_authority(rest); });
  if (authority.find('@') != authority.npos)
    refuse(text, "a user's name is for TLS, which is not supported");
  return authority;
}

Address parse_server(std::string_view text, const char* prefix, std::string_view authority,
                     std::uint16_t default_port) {
  return part_of(text, [&] { return parse_uri_server(prefix, authority, default_port); });
}

void parse_unix_server(std::string_view text, std::string_view rest, Region& region) {
  if (!take_authority(text, rest).empty())
    refuse(text, region.scheme + ":///EXPORT?socket=PATH is accepted, with three slashes");
  region.rest = parse_export(text, rest);
  const auto socket = region.parameters.find("socket");
  if (socket == region.parameters.end()) refuse(text, "socket=PATH is missing");
  std::string path = socket->second;
  if (path.starts_with('@')) path.insert(0, "./");  // a file's name here; abstract is %00
  if (path.starts_with('\0')) path[0] = '@';
  if (path.starts_with("//")) path.insert(0, "//");
  region.address = part_of(text, [&] { return parse_address("unix:" + path); });
}

void parse_nbd(std::string_view text, std::string_view rest, Region& region) {
  if (region.scheme == "nbd+exec") {
    region.address = part_of(text, [&] { return parse_address("exec:" + std::string(rest)); });
    return;
  }
  if (region.scheme == "nbd+unix") {
    take_parameters(text, rest, region, {"socket"});
    return parse_unix_server(text, rest, region);
  }
  take_parameters(text, rest, region, {});
  const auto authority = take_authority(text, rest);
  region.rest = parse_export(text, rest);
  region.address =
      parse_server(text, region.scheme == "nbd" ? "tcp://" : "vsock://", authority, nbd::kPort);
}

void parse_r3(std::string_view text, std::string_view rest, Region& region) {
  if (region.scheme == "r3+exec") {
    region.address = part_of(text, [&] { return parse_address("exec:" + std::string(rest)); });
    return;
  }
  take_parameters(text, rest, region, {"socket", "key-file", "server-key", "psk-file", "plain", "compress"});
  if (region.scheme != "r3+unix" && region.parameters.contains("socket"))
    refuse(text, "socket= belongs to r3+unix:");
  if (region.scheme == "r3+unix") return parse_unix_server(text, rest, region);
  if (region.scheme == "r3+fd") {
    const auto slash = rest.find('/');
    region.rest = parse_export(text, slash == rest.npos ? "" : rest.substr(slash));
    const auto number = std::string(rest.substr(0, slash));
    region.address = part_of(text, [&] { return parse_address("fd:" + number); });
    return;
  }
  const auto authority = take_authority(text, rest);
  region.rest = parse_export(text, rest);
  region.address =
      parse_server(text, region.scheme == "r3" ? "tcp://" : "vsock://", authority, kR3Port);
}

bool is_r3(std::string_view scheme) {
  return scheme == "r3" || scheme == "r3+unix" || scheme == "r3+vsock" || scheme == "r3+exec" ||
         scheme == "r3+fd";
}

void parse_dir(std::string_view text, std::string_view rest, Region& region) {
  take_parameters(text, rest, region, {"size", "chunk"});
  region.rest = part_of(text, [&] { return percent_decode(rest); });
  refuse_zero_bytes(text, region.rest);
  if (region.rest.empty()) refuse(text, "dir:PATH?size=SIZE&chunk=SIZE is accepted");
  const auto size = region.parameters.find("size");
  if (size != region.parameters.end()) region.size = parse_region_size(text, size->second);
  const auto chunk = region.parameters.find("chunk");
  if (chunk != region.parameters.end()) parse_region_size(text, chunk->second);
}

void parse_computed(std::string_view text, std::string_view rest, Region& region) {
  if (region.scheme == "memory") {
    take_parameters(text, rest, region, {"file"});
    for (const auto& [name, value] : region.parameters) {
      refuse_zero_bytes(text, value);
      if (value.empty()) refuse(text, name + "= needs a value");
    }
  }
  region.size = parse_region_size(text, rest);
}

}  // namespace

Region parse_region(std::string_view text) {
  Region region;
  const auto scheme = uri_scheme(text);
  std::string_view rest = text;
  if (!scheme.empty()) rest.remove_prefix(scheme.size() + 1);
  region.scheme = scheme.empty() ? "file" : scheme;
  if (region.scheme == "file") {
    refuse_zero_bytes(text, rest);
    if (rest.empty()) refuse(text, "the path of a file is missing");
    region.rest = rest;
  } else if (scheme == "memory" || scheme == "pattern" || scheme == "zero") {
    parse_computed(text, rest, region);
  } else if (scheme == "dir") {
    parse_dir(text, rest, region);
  } else if (scheme == "nbd" || scheme == "nbd+unix" || scheme == "nbd+vsock" ||
             scheme == "nbd+exec") {
    parse_nbd(text, rest, region);
  } else if (is_r3(scheme)) {
    parse_r3(text, rest, region);
  } else if (scheme.starts_with("nbds")) {
    refuse(text, "TLS is not supported; nbd+exec:ssh HOST ... brings NBD over an encrypted channel");
  } else if (!is_helped(region)) {
    refuse(text, "unknown scheme; nbd: and r3: are known, and both with +unix, +vsock and +exec; r3+fd:");
  } else {
    refuse_zero_bytes(text, rest);
    region.rest = rest;  // for a region helper, which knows what it means
  }
  return region;
}

bool is_helped(const Region& region) {
  static constexpr std::array<std::string_view, 5> kOwn = {"file", "memory", "dir", "pattern", "zero"};
  return std::find(kOwn.begin(), kOwn.end(), region.scheme) == kOwn.end() &&
         !region.scheme.starts_with("nbd") && !region.scheme.starts_with("r3");
}

std::string to_text(const Region& region) {
  std::string text = region.scheme + ":";
  const bool remote = region.scheme.starts_with("nbd") || is_r3(region.scheme);
  if (region.address.kind == Address::Kind::exec) return text + region.address.command;
  if (region.scheme == "file" || is_helped(region)) return text + region.rest;
  if (region.scheme.ends_with("+unix")) text += "//";
  if (remote && !region.scheme.ends_with("+unix")) {
    const std::string address = to_text(region.address);
    text += address.substr(address.find(':') + 1);
  }
  if (remote) text += "/";
  if (region.scheme == "dir" || remote) {
    text += percent_encode(region.rest);
  } else {
    text += std::to_string(region.size);
  }
  char separator = '?';
  for (const auto& [name, value] : region.parameters) {
    text += separator + name + "=" + percent_encode(value);
    separator = '&';
  }
  return text;
}

}  // namespace r3
