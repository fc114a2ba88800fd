// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/web/answer.hpp"

#include <time.h>

#include <algorithm>
#include <charconv>

namespace r3 {

namespace {

constexpr std::size_t kMostHeaders = 256 << 10;  // bytes
constexpr std::size_t kMostCode = 64;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Digits only.
std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return {};
  return value;
}

std::optional<ContentRange::Part> parse_part(std::string_view text) {
  const auto dash = text.find('-');
  if (dash == text.npos) return {};
  const auto first = number(text.substr(0, dash)), last = number(text.substr(dash + 1));
  if (!first || !last || *first > *last) return {};
  return ContentRange::Part{*first, *last};
}

}  // namespace

std::string WebAnswer::header(std::string_view name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

// A status line begins another answer: that of the server itself, after what proxies and 1xx had to say.
bool WebAnswer::add_header(std::string_view line) {
  header_bytes += line.size();
  if (header_bytes > kMostHeaders) return false;
  if (line.starts_with("HTTP/")) headers.clear();
  const auto colon = line.find(':');
  if (colon == line.npos) return true;
  std::string name(line.substr(0, colon));
  std::ranges::transform(name, name.begin(), lower);
  const auto first = line.find_first_not_of(" \t", colon + 1);
  const auto last = line.find_last_not_of(" \t\r\n");
  headers[name] = first == line.npos || last < first ? "" : line.substr(first, last - first + 1);
  return true;
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return {};
  text.remove_prefix(kUnit.size());
  const auto slash = text.find('/');
  if (slash == text.npos) return {};
  const auto part = text.substr(0, slash), whole = text.substr(slash + 1);
  ContentRange range;
  if (part != "*" && !(range.part = parse_part(part))) return {};
  if (whole != "*" && !(range.whole = number(whole))) return {};
  if (range.part && range.whole && range.part->last >= *range.whole) return {};
  return range;
}

std::optional<std::chrono::seconds> parse_retry_after(const std::string& text, std::time_t now) {
  constexpr std::uint64_t kYear = 366 * 24 * 3600;
  if (const auto seconds = number(text)) return std::chrono::seconds(std::min(*seconds, kYear));
  std::tm when{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &when);
  if (end == nullptr || *end != '\0') return {};
  return std::chrono::seconds(std::clamp<std::time_t>(::timegm(&when) - now, 0, kYear));
}

std::string without_query(std::string_view url) { return std::string(url.substr(0, url.find('?'))); }

std::string s3_error_code(std::string_view text) {
  constexpr std::string_view kBegin = "<Code>", kEnd = "</Code>";
  const auto begin = text.find(kBegin);
  if (begin == text.npos) return {};
  text.remove_prefix(begin + kBegin.size());
  const auto code = text.substr(0, text.find(kEnd));
  if (code.size() == text.size() || code.empty() || code.size() > kMostCode) return {};
  return std::ranges::all_of(code, is_letter_or_digit) ? std::string(code) : std::string();
}

}  // namespace r3
