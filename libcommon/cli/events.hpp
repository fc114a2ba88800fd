// SPDX-License-Identifier: Apache-2.0
// What a tool tells programs: one JSON object a line, {"event":"ready", ...}, on stdout with --json
// and on --events-fd. Readers ignore members that they do not know; sizes are integers in bytes,
// times are decimals in seconds. Any thread may send; lines never mix.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace r3 {

// Builds one flat JSON object: Json().add("event", "ready").add("size", 4096).text().
class Json {
 public:
  Json& add(std::string_view name, std::string_view text);
  Json& add(std::string_view name, const char* text) { return add(name, std::string_view(text)); }
  Json& add(std::string_view name, std::uint64_t number);
  Json& add(std::string_view name, int number);
  Json& add(std::string_view name, double number);
  Json& add(std::string_view name, bool value);
  // `value` is JSON already: an object, an array.
  Json& add_raw(std::string_view name, std::string_view value);

  std::string text() const { return "{" + members_ + "}"; }

 private:
  Json& member(std::string_view name, std::string_view value);
  std::string members_;
};

class Events {
 public:
  // Borrows the descriptors, which stay open as long as this lives.
  explicit Events(std::vector<int> fds) : fds_(std::move(fds)) {}
  // A reader that has gone away is ignored: the tool's work goes on.
  void send(const Json& event) noexcept;

 private:
  std::mutex mutex_;
  std::vector<int> fds_;
};

}  // namespace r3
