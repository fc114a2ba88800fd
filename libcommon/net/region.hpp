// SPDX-License-Identifier: Apache-2.0
// REGION, the one grammar for "which bytes" (r3tools(7), REGIONS), becomes a Backend:
//
//   PATH  file:PATH  memory:SIZE[?file=PATH]  dir:PATH?size=SIZE&chunk=SIZE  pattern:SIZE  zero:SIZE
//   nbd://HOST[:PORT]/EXPORT  nbd+unix:///EXPORT?socket=PATH  nbd+vsock://CID[:PORT]/EXPORT
//   nbd+exec:COMMAND
//   r3://HOST[:PORT]/EXPORT  r3+unix:///EXPORT?socket=PATH  r3+vsock://CID[:PORT]/EXPORT  r3+exec:COMMAND
//   r3+fd:N[/EXPORT]         with key-file=, server-key=, psk-file=, plain=yes (r3_region.hpp)
//   SCHEME:...               anything else: a region helper serves it (region_helper.hpp)
//
// What starts with a scheme (a lower-case letter, then letters, digits, + - or ., then a colon) is
// never a plain PATH: ./a:b and file:a:b are. After file:, nbd+exec:, r3+exec: and the scheme of a helper
// every byte is meant as it is; elsewhere %XX stands for a byte, as in any URI. Sizes go up to 2^63-1.
//
// Bad text throws std::invalid_argument; a region that does not open throws std::system_error.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/address.hpp"
#include "libcommon/storage/backend.hpp"

namespace r3 {

struct Region {
  std::string scheme;  // "file" (also for a plain PATH), "memory", "nbd+unix", ...
  std::string rest;    // the path, or the name of the export; decoded; for a helper all that follows the scheme
  std::map<std::string, std::string, std::less<>> parameters;  // what the scheme knows; decoded
  std::uint64_t size = 0;  // memory, pattern, zero, dir (0: as it was made)
  Address address;         // for what is reached over a connection
};

Region parse_region(std::string_view text);
// Whether a region helper is to serve it: the scheme is none of those above.
bool is_helped(const Region& region);
// A form that parse_region takes.
std::string to_text(const Region& region);

class OpenFiles;

struct RegionOptions {
  bool read_only = false;
  unsigned connections = 1;                      // to a remote server, if it allows several
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds io_timeout{0};       // an outage becomes EIO after that; 0 waits for ever
  std::string key_file = {};    // r3: a private key, where the region names none
  std::string psk_file = {};    // r3: a pre-shared key, likewise
  bool plain = false;      // r3: without encryption even off the machine
  const Stop* stop = nullptr;                    // ends opening early; not used afterwards
  bool only_writer = false;  // r3: older writers are fenced off; see r3_client.hpp
  std::shared_ptr<OpenFiles> open_files = {};  // dir: files kept open, together with other regions
  std::function<void(bool connected)> on_change = {};  // a remote end is lost, or back; see nbd_client.hpp
};

// Opens files and makes connections; returns when the region can be used.
std::unique_ptr<Backend> open_region(const Region& region, const RegionOptions& options);

}  // namespace r3
