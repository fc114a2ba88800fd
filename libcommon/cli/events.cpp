// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/events.hpp"

#include <unistd.h>

#include <cstdio>

namespace r3 {

namespace {

// RFC 8259: quotes, backslashes and control characters are escaped; bytes that are not UTF-8 become
// U+FFFD, so that a path of any bytes still gives JSON.
std::string quote(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += text[i];
    } else if (c < 0x20 || c == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else if (c < 0x80) {
      out += text[i];
    } else {
      const std::size_t length = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
      bool valid = length > 0 && c < 0xf5 && i + length <= text.size();
      for (std::size_t k = 1; valid && k < length; ++k)
        valid = (static_cast<unsigned char>(text[i + k]) & 0xc0) == 0x80;
      if (valid) {
        out += text.substr(i, length);
        i += length - 1;
      } else {
        out += "\xef\xbf\xbd";
      }
    }
  }
  return out + "\"";
}

}  // namespace

Json& Json::member(std::string_view name, std::string_view value) {
  if (!members_.empty()) members_ += ",";
  members_ += quote(name) + ":";
  members_ += value;
  return *this;
}

Json& Json::add(std::string_view name, std::string_view text) {
  return member(name, quote(text));
}

Json& Json::add(std::string_view name, std::uint64_t number) {
  return member(name, std::to_string(number));
}

Json& Json::add(std::string_view name, int number) {
  return member(name, std::to_string(number));
}

Json& Json::add(std::string_view name, double number) {
  char text[40];
  std::snprintf(text, sizeof text, "%.6g", number);
  return member(name, text);
}

Json& Json::add(std::string_view name, bool value) {
  return member(name, value ? "true" : "false");
}

Json& Json::add_raw(std::string_view name, std::string_view value) {
  return member(name, value);
}

void Events::send(const Json& event) noexcept {
  try {
    const std::string line = event.text() + "\n";
    std::lock_guard lock(mutex_);
    for (const int fd : fds_) {
      std::string_view rest = line;
      while (!rest.empty()) {
        const auto n = ::write(fd, rest.data(), rest.size());
        if (n <= 0) break;
        rest.remove_prefix(static_cast<std::size_t>(n));
      }
    }
  } catch (...) {
    // Out of memory: the event is lost, the work goes on.
  }
}

}  // namespace r3
