// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-serve/exports.hpp"

#include <unistd.h>

#include <algorithm>

namespace r3 {

namespace {

bool is_name(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           c == '.' || c == '_' || c == '-';
  });
}

}  // namespace

NamedRegion parse_named_region(const std::string& text) {
  const auto mark = text.find('=');
  const bool named = mark != text.npos && is_name(std::string_view(text).substr(0, mark)) &&
                     ::access(text.c_str(), F_OK) != 0;
  if (!named) return {"", parse_region(text)};
  return {text.substr(0, mark), parse_region(text.substr(mark + 1))};
}

std::string export_uri(const Address& address, const std::string& name) {
  const auto authority = [&](const std::string& scheme) {
    const auto text = to_text(address);
    return scheme + text.substr(text.find("://")) + (name.empty() ? "" : "/" + percent_encode(name));
  };
  switch (address.kind) {
    case Address::Kind::tcp: return authority("nbd");
    case Address::Kind::vsock: return authority("nbd+vsock");
    case Address::Kind::unix_socket: {
      const bool abstract = address.path.starts_with('@');
      const auto path = abstract ? "%00" + percent_encode(address.path.substr(1))
                                 : percent_encode(address.path);
      return "nbd+unix:///" + percent_encode(name) + "?socket=" + path;
    }
    default: return {};
  }
}

}  // namespace r3
