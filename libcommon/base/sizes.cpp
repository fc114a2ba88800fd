// SPDX-License-Identifier: Apache-2.0
#include "libcommon/base/sizes.hpp"

#include <array>
#include <charconv>
#include <cstdio>
#include <limits>
#include <stdexcept>

namespace r3 {

namespace {

[[noreturn]] void refuse(std::string_view text, const char* accepted) {
  throw std::invalid_argument("\"" + std::string(text) + "\" is not " + accepted);
}

// Takes the leading digits off `text`; false if there are none or they overflow.
bool take_digits(std::string_view& text, std::uint64_t& value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
  constexpr auto accepted = "a size (a number, or one with K, M, G or T: 4096, 64K, 1M)";
  std::string_view rest = text;
  std::uint64_t value = 0;
  if (!take_digits(rest, value) || rest.size() > 1) refuse(text, accepted);
  if (rest.empty()) return value;
  constexpr std::string_view units = "KMGT";
  const auto unit = units.find(rest[0]);
  if (unit == units.npos) refuse(text, accepted);
  const unsigned shift = 10 * (static_cast<unsigned>(unit) + 1);
  if (value > std::numeric_limits<std::uint64_t>::max() >> shift) refuse(text, accepted);
  return value << shift;
}

std::chrono::milliseconds parse_duration(std::string_view text) {
  constexpr auto accepted = "a duration (a number with ms, s, m or h: 500ms, 2s)";
  std::string_view rest = text;
  std::uint64_t value = 0;
  if (!take_digits(rest, value)) refuse(text, accepted);
  std::uint64_t factor = 0;
  if (rest == "ms") factor = 1;
  if (rest == "s") factor = 1000;
  if (rest == "m") factor = 60'000;
  if (rest == "h") factor = 3'600'000;
  constexpr std::uint64_t most = 1'000ULL * 3'600'000;
  if (factor == 0 || value > most / factor) refuse(text, accepted);
  return std::chrono::milliseconds(value * factor);
}

std::uint64_t parse_number(std::string_view text, std::uint64_t most) {
  std::string_view rest = text;
  std::uint64_t value = 0;
  if (!take_digits(rest, value) || !rest.empty() || value > most)
    refuse(text, ("a number from 0 to " + std::to_string(most)).c_str());
  return value;
}

std::string format_size(std::uint64_t bytes) {
  constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < units.size()) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

}  // namespace r3
