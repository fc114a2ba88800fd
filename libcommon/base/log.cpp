// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/log.hpp"

#include <unistd.h>

#include <cstdio>
#include <string>

namespace r3 {

namespace {

struct Log {
  const char* name = "r3tools";
  Verbosity verbosity = Verbosity::normal;
};

Log& log() noexcept {
  static Log instance;
  return instance;
}

// One write(2) a line, so that lines of several threads and processes never mix. Control characters
// of a peer's text never reach a terminal.
void say(std::string_view kind, std::string_view text) noexcept {
  try {
    std::string line = std::string(log().name) + ": ";
    line.append(kind);
    for (const char c : text)
      line.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
    line.push_back('\n');
    [[maybe_unused]] auto n = ::write(STDERR_FILENO, line.data(), line.size());
  } catch (...) {
    // Out of memory: there is nothing left to say it with.
  }
}

}  // namespace

void set_log(const char* name, Verbosity verbosity) noexcept {
  log() = {name, verbosity};
}

Verbosity verbosity() noexcept {
  return log().verbosity;
}

void log_error(std::string_view text) noexcept {
  say("", text);
}

void log_warning(std::string_view text) noexcept {
  if (verbosity() > Verbosity::quiet) say("warning: ", text);
}

void log_hint(std::string_view text) noexcept {
  if (verbosity() > Verbosity::quiet) say("hint: ", text);
}

void log_debug(std::string_view text) noexcept {
  if (verbosity() >= Verbosity::debug) say("", text);
}

}  // namespace r3
