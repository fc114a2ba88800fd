// SPDX-License-Identifier: Apache-2.0
// REGION, the one grammar for "which bytes" (r3tools(7), REGIONS), becomes a Backend:
//
//   PATH  file:PATH  memory:SIZE[?file=PATH]  dir:PATH?size=SIZE&chunk=SIZE  pattern:SIZE  zero:SIZE
//   nbd://HOST[:PORT]/EXPORT  nbd+unix:///EXPORT?socket=PATH  nbd+vsock://CID:PORT/EXPORT  nbd+exec:COMMAND
//
// Bad text throws std::invalid_argument; a region that does not open throws std::system_error.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libcommon/net/address.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct Region {
  std::string scheme;  // "file", "memory", "nbd", ...
  std::string rest;    // what stands after the colon, before '?', decoded where the scheme says so
  std::map<std::string, std::string> parameters;
  Address address;     // for what is reached over a connection
};

Region parse_region(std::string_view text);

struct RegionOptions {
  bool read_only = false;
  unsigned connections = 1;                      // to a remote server, if it allows several
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds io_timeout{0};       // an outage becomes EIO after that; 0 waits for ever
};

std::unique_ptr<Backend> open_region(const Region& region, const RegionOptions& options);

}  // namespace r3
