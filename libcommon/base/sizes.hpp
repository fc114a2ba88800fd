// SPDX-License-Identifier: Apache-2.0
// Sizes (4096, 64K, 1M, 2G, 1T: powers of 1024) and durations (500ms, 2s, 5m) as people write them.
// A value that makes no sense throws std::invalid_argument with a text that says what is accepted.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace r3 {

std::uint64_t parse_size(std::string_view text);
std::chrono::milliseconds parse_duration(std::string_view text);
// A plain decimal number up to `most`.
std::uint64_t parse_number(std::string_view text, std::uint64_t most);

// "1.5 MiB": for people. Machines get plain numbers.
std::string format_size(std::uint64_t bytes);

}  // namespace r3
