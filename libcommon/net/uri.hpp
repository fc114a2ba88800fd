// SPDX-License-Identifier: Apache-2.0
// The parts of a URI (RFC 3986, section 3) as regions use them: SCHEME://AUTHORITY/PATH?NAME=VALUE&... Pure
// text. Bad text throws std::invalid_argument with the reason alone: which region it is about, the caller says.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

#include "libcommon/net/address.hpp"

namespace r3 {

using UriParameters = std::map<std::string, std::string, std::less<>>;

// The scheme that `text` starts with (a lower-case letter, then these, digits, + - or .), or empty.
std::string_view uri_scheme(std::string_view text);

// Cuts "?NAME=VALUE&..." off `rest`, decoded; only the `known` names are accepted, each once.
UriParameters take_uri_parameters(std::string_view& rest, std::initializer_list<std::string_view> known);

// Cuts "//AUTHORITY" off `rest`, which has to start with it; as it was written.
std::string_view take_uri_authority(std::string_view& rest);

// HOST[:PORT] as an address of tcp:// or vsock:// (`prefix`).
Address parse_uri_server(std::string_view prefix, std::string_view authority, std::uint16_t default_port);

}  // namespace r3
