// SPDX-License-Identifier: Apache-2.0
// What a tool tells programs: one JSON object a line, {"event":"ready", ...}, on stdout with --json
// and on --events-fd. Readers ignore members that they do not know; sizes are integers in bytes,
// times are decimals in seconds. Any thread may send; lines never mix. Knows nothing of who reads.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace r3 {

// Builds one JSON object: Json().add("event", "ready").add("size", 4096).text().
class Json {
 public:
  struct Member {
    std::string name;
    std::string value;  // as JSON
  };

  Json& add(std::string_view name, std::string_view text);
  Json& add(std::string_view name, const char* text) { return add(name, std::string_view(text)); }
  Json& add(std::string_view name, std::uint64_t number);
  Json& add(std::string_view name, int number);
  // A number that JSON cannot express (infinite, none) becomes null.
  Json& add(std::string_view name, double number);
  Json& add(std::string_view name, bool value);
  // `value` is JSON already: an object, an array.
  Json& add_raw(std::string_view name, std::string_view value);
  Json& add_all(const Json& other);

  const std::vector<Member>& members() const { return members_; }
  std::string text() const;

 private:
  std::vector<Member> members_;
};

class Events {
 public:
  // Borrows the descriptors, which stay open as long as this lives.
  explicit Events(const std::vector<int>& fds);

  // A reader that has gone away is ignored, and one that does not read for a second loses events (the
  // next that it gets is {"event":"lost","count":N}): the tool's work goes on.
  void send(const Json& event) noexcept;
  // The errno of the first write to `fd` that failed or was given up; 0 if none did.
  int error_of(int fd) noexcept;

 private:
  struct Sink {
    int fd;
    int error = 0;
    int lost = 0;
    bool dead = false;  // holds half a line, which nothing can follow
  };
  static void deliver(Sink& sink, const std::string& line);

  std::mutex mutex_;
  std::vector<Sink> sinks_;  // guarded by mutex_
};

}  // namespace r3
