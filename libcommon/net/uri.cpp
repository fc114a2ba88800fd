// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/uri.hpp"

#include <algorithm>
#include <stdexcept>

namespace r3 {

namespace {

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument(why); }

void take_parameter(std::string_view item, std::initializer_list<std::string_view> known,
                    UriParameters& into) {
  const std::string name(item.substr(0, item.find('=')));
  if (name.starts_with("tls-")) refuse(name + ": TLS is not supported");
  if (std::find(known.begin(), known.end(), name) == known.end())
    refuse("unknown parameter \"" + name + "\"");
  if (name.size() == item.size()) refuse(name + "= needs a value");
  if (!into.emplace(name, percent_decode(item.substr(name.size() + 1))).second)
    refuse(name + "= is given twice");
}

}  // namespace

std::string_view uri_scheme(std::string_view text) {
  const auto colon = text.find(':');
  if (colon == text.npos || text[0] < 'a' || text[0] > 'z') return {};
  for (const char c : text.substr(0, colon)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!letter && c != '+' && c != '-' && c != '.') return {};
  }
  return text.substr(0, colon);
}

UriParameters take_uri_parameters(std::string_view& rest,
                                  std::initializer_list<std::string_view> known) {
  if (rest.find('#') != rest.npos) refuse("a # has to be written as %23");
  UriParameters parameters;
  const auto mark = rest.find('?');
  if (mark == rest.npos) return parameters;
  std::string_view query = rest.substr(mark + 1);
  rest = rest.substr(0, mark);
  while (!query.empty()) {
    const auto item = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), item.size() + 1));
    take_parameter(item, known, parameters);
  }
  return parameters;
}

std::string_view take_uri_authority(std::string_view& rest) {
  if (!rest.starts_with("//")) refuse("// has to follow the scheme");
  rest.remove_prefix(2);
  const auto authority = rest.substr(0, rest.find('/'));
  rest.remove_prefix(authority.size());
  return authority;
}

Address parse_uri_server(std::string_view prefix, std::string_view authority,
                         std::uint16_t default_port) {
  const auto bracket = authority.rfind(']');
  const bool has_port = authority.find(':', bracket == authority.npos ? 0 : bracket) != authority.npos;
  std::string text = std::string(prefix) + std::string(authority);
  if (!has_port) text += ":" + std::to_string(default_port);
  auto address = parse_address(text);
  if (address.kind == Address::Kind::tcp && address.port == 0) refuse("no server has port 0");
  return address;
}

}  // namespace r3
