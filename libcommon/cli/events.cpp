// SPDX-License-Identifier: Apache-2.0
#include "libcommon/cli/events.hpp"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
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

// Writes `line` and takes what was written off it; gives up with an errno when the reader does not read
// for `patience_ms`.
int write_line(int fd, std::string_view& line, int patience_ms) {
  while (!line.empty()) {
    pollfd watched{fd, POLLOUT, 0};
    const int ready = ::poll(&watched, 1, patience_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return EAGAIN;
    const auto n = ::write(fd, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    line.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

}  // namespace

Json& Json::add_raw(std::string_view name, std::string_view value) {
  members_.push_back({std::string(name), std::string(value)});
  return *this;
}

Json& Json::add(std::string_view name, std::string_view text) {
  return add_raw(name, quote(text));
}

Json& Json::add(std::string_view name, std::uint64_t number) {
  return add_raw(name, std::to_string(number));
}

Json& Json::add(std::string_view name, int number) {
  return add_raw(name, std::to_string(number));
}

Json& Json::add(std::string_view name, double number) {
  if (!std::isfinite(number)) return add_raw(name, "null");
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", number);
  return add_raw(name, text);
}

Json& Json::add(std::string_view name, bool value) {
  return add_raw(name, value ? "true" : "false");
}

Json& Json::add_all(const Json& other) {
  for (const Member& member : other.members_) add_raw(member.name, member.value);
  return *this;
}

std::string Json::text() const {
  std::string out;
  for (const Member& member : members_)
    out += (out.empty() ? "{" : ",") + quote(member.name) + ":" + member.value;
  return out.empty() ? "{}" : out + "}";
}

Events::Events(const std::vector<int>& fds) {
  for (const int fd : fds) sinks_.push_back({fd});
}

void Events::send(const Json& event) noexcept {
  try {
    const std::string line = event.text() + "\n";
    std::lock_guard lock(mutex_);
    for (Sink& sink : sinks_) deliver(sink, line);
  } catch (...) {
    // Out of memory: the event is lost, the work goes on.
  }
}

// A reader that has once not read is not waited for again until it does.
void Events::deliver(Sink& sink, const std::string& line) {
  if (sink.dead) return;
  std::string text = line;
  if (sink.lost > 0)
    text = Json().add("event", "lost").add("count", sink.lost).text() + "\n" + text;
  std::string_view rest = text;
  const int error = write_line(sink.fd, rest, sink.lost > 0 ? 0 : 1000);
  sink.lost = error == 0 ? 0 : sink.lost + 1;
  sink.dead = error != 0 && rest.size() < text.size();
  if (sink.error == 0) sink.error = error;
}

int Events::error_of(int fd) noexcept {
  std::lock_guard lock(mutex_);
  for (const Sink& sink : sinks_)
    if (sink.fd == fd) return sink.error;
  return 0;
}

}  // namespace r3
