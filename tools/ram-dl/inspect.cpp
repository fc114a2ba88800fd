// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-dl/inspect.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

namespace {

constexpr std::size_t kWidth = 16;

std::string offset_text(std::uint64_t offset) {
  char text[24];
  std::snprintf(text, sizeof text, "%010llx", static_cast<unsigned long long>(offset));
  return text;
}

std::string line_of(std::uint64_t offset, std::string_view bytes) {
  std::string numbers, letters;
  for (std::size_t i = 0; i < kWidth; ++i) {
    char text[8] = "   ";
    if (i < bytes.size()) {
      const auto byte = static_cast<unsigned char>(bytes[i]);
      std::snprintf(text, sizeof text, "%02x ", byte);
      letters += byte >= 0x20 && byte < 0x7f ? bytes[i] : '.';
    }
    numbers += (i == kWidth / 2 ? " " : "") + std::string(text);
  }
  return offset_text(offset) + "  " + numbers + " |" + letters + "|\n";
}

}  // namespace

std::string HexDump::lines(ConstBytes bytes) {
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += kWidth) {
    const std::string_view line = as_text(bytes.subspan(at, std::min(kWidth, bytes.size() - at)));
    if (line == last_) {
      if (!starred_) text += "*\n";
      starred_ = true;
    } else {
      text += line_of(offset_, line);
      last_ = line;
      starred_ = false;
    }
    offset_ += line.size();
  }
  return text;
}

std::string HexDump::end() const { return offset_text(offset_) + "\n"; }

void inspect(Backend& region, std::uint64_t offset, std::uint64_t length, bool hex) {
  check_read_range(region.size(), offset, length);
  if (length == 0) length = region.size() - offset;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(length, MiB));
  HexDump dump(offset);
  while (length > 0) {
    const auto part = Bytes(buffer).first(std::min<std::uint64_t>(length, buffer.size()));
    region.read_at(part, offset);
    write_full(STDOUT_FILENO, hex ? as_bytes(dump.lines(part)) : ConstBytes(part), "stdout");
    offset += part.size();
    length -= part.size();
  }
  if (hex) write_full(STDOUT_FILENO, as_bytes(dump.end()), "stdout");
}

}  // namespace r3
