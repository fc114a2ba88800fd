// SPDX-License-Identifier: Apache-2.0
// What is read out of a web server's answer: header lines, ranges, pauses, the codes of S3's errors. Pure bytes, and
// all of them foreign: whatever they are, there is a right value or none, and no more memory than a bound.
// Sources: RFC 9110 (HTTP semantics), 10.2.3 and 14.4; Amazon S3 API reference, "Error responses".
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace r3 {

struct WebAnswer {
  long status = 0;
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case
  std::size_t header_bytes = 0;
  std::uint64_t size = 0;  // of the body
  std::string text;        // the body where it did not go into the request's, at most 64 KiB

  // The value; empty if there is none.
  std::string header(std::string_view name) const;
  // One line of the head, with its end. False: there are more than any server has to say.
  bool add_header(std::string_view line);
};

// "bytes FIRST-LAST/WHOLE"; FIRST-LAST or WHOLE may be "*".
struct ContentRange {
  struct Part {
    std::uint64_t first = 0, last = 0;
    friend bool operator==(const Part&, const Part&) = default;
  };
  std::optional<Part> part;
  std::optional<std::uint64_t> whole;
};
// None if it is no such thing.
std::optional<ContentRange> parse_content_range(std::string_view text);

// How long a server asks to be left alone: seconds, or a date. None if it does not say.
std::optional<std::chrono::seconds> parse_retry_after(const std::string& text, std::time_t now);

// A URL as it may be shown: what is asked for behind the "?" may be a secret (a signature, a token).
std::string without_query(std::string_view url);

// What is in <Code>...</Code>, if it is one word; else empty.
std::string s3_error_code(std::string_view text);

}  // namespace r3
