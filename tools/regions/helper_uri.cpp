// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/helper_uri.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

HelperUri parse_helper_uri(const std::string& region, std::uint16_t default_port,
                           std::initializer_list<std::string_view> known) try {
  HelperUri uri;
  std::string_view rest = region;
  const auto scheme = uri_scheme(region);
  rest.remove_prefix(scheme.size() + 1);
  uri.parameters = take_uri_parameters(rest, known);
  std::string_view authority = take_uri_authority(rest);
  if (const auto at = authority.find('@'); at != authority.npos) {
    if (authority.substr(0, at).find(':') != authority.npos)
      throw std::invalid_argument("a password is given by password-file=FILE: other users can read what "
                                  "stands on a command line");
    uri.user = percent_decode(authority.substr(0, at));
    authority.remove_prefix(at + 1);
  }
  if (scheme.ends_with("+unix")) {
    if (!authority.empty()) throw std::invalid_argument("three slashes, then the path, are accepted");
    const auto socket = parameter(uri.parameters, "socket");
    if (socket.empty()) throw std::invalid_argument("socket=PATH is missing");
    uri.server = parse_address("unix:" + socket);
  } else {
    if (uri.parameters.contains("socket"))
      throw std::invalid_argument("socket= belongs to " + std::string(scheme) + "+unix:");
    uri.server = parse_uri_server("tcp://", authority, default_port);
  }
  uri.path = percent_decode(rest.substr(std::min<std::size_t>(rest.size(), 1)));
  return uri;
} catch (const std::invalid_argument& error) {
  throw std::invalid_argument("region \"" + region + "\": " + error.what());
}

std::string parameter(const UriParameters& all, std::string_view name, const std::string& otherwise) {
  const auto found = all.find(name);
  return found == all.end() ? otherwise : found->second;
}

std::string read_password(const std::string& path) {
  const Fd file = open_file(path, O_RDONLY | O_CLOEXEC);
  struct stat about {};
  check(::fstat(file.get(), &about), path);
  if (S_ISREG(about.st_mode) && (about.st_mode & 077) != 0)
    fail(EACCES, path + " may be read by others (chmod 600 it)");
  std::string text(4096, '\0');
  const auto size = check(::read(file.get(), text.data(), text.size()), path);
  text.resize(static_cast<std::size_t>(size));
  text.erase(std::min(text.size(), text.find('\n')));
  if (text.empty()) throw std::invalid_argument(path + " has no password in its first line");
  return text;
}

std::string web_encode(std::string_view text, bool keep_slashes) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || c == '-' || c == '_' || c == '.' || c == '~' || (c == '/' && keep_slashes)) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

}  // namespace r3
