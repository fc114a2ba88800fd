// SPDX-License-Identifier: Apache-2.0
// The texts of regions that helpers serve, and the files that these name. Bad text throws std::invalid_argument.
#pragma once

#include <string>
#include <string_view>

#include "libcommon/net/uri.hpp"

namespace r3 {

// SCHEME://[USER@]HOST[:PORT]/PATH?..., or SCHEME+unix://[USER@]/PATH?socket=FILE&...
struct HelperUri {
  std::string user;
  Address server;
  std::string path;  // after the first slash, decoded
  UriParameters parameters;
};
HelperUri parse_helper_uri(const std::string& region, std::uint16_t default_port,
                           std::initializer_list<std::string_view> known);

// The text of a parameter, or `otherwise`.
std::string parameter(const UriParameters& all, std::string_view name, const std::string& otherwise = {});

// The first line of a file that nobody else may read or write, without its line's end: a password. Throws.
std::string read_password(const std::string& path);

// "%XX" for all but the unreserved characters of RFC 3986; slashes stay, if told to.
std::string web_encode(std::string_view text, bool keep_slashes);

}  // namespace r3
