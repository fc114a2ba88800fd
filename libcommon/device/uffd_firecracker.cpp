// SPDX-License-Identifier: Apache-2.0
// A strict reader of the little JSON that Firecracker sends (RFC 8259); it takes no memory for what it skips.
// Source: Firecracker's docs/snapshotting/handling-page-faults-on-snapshot-resume.md.
#include <cstring>

#include "libcommon/base/error.hpp"
#include "libcommon/device/uffd_handoff.hpp"

namespace r3::uffd {

namespace {

constexpr int kMostNested = 16;
constexpr std::size_t kMostRanges = 1024;

struct Incomplete {};  // the text ends before the value does

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  // After white space.
  char peek() {
    while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr && text_[at_] != '\0') ++at_;
    return next_char();
  }
  bool take(char wanted) {
    if (peek() != wanted) return false;
    ++at_;
    return true;
  }
  void expect(char wanted) {
    if (!take(wanted)) refuse(std::string("'") + wanted + "' is expected");
  }
  // A string as it is written, without its quotes; names that we look for need no escapes.
  std::string_view string() {
    expect('"');
    const auto begin = at_;
    for (;; ++at_) {
      const char c = next_char();
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) refuse("a control character is in a string");
      if (c == '\\') {
        ++at_;
        if (std::strchr("\"\\/bfnrtu", next_char()) == nullptr || next_char() == '\0') refuse("an escape is not known");
      }
    }
    return text_.substr(begin, at_++ - begin);
  }
  std::uint64_t number() {
    if (peek() < '0' || peek() > '9') refuse("a whole number is expected");
    const bool led_by_zero = text_[at_] == '0';
    std::uint64_t value = 0;
    const auto begin = at_;
    for (; next_char() >= '0' && text_[at_] <= '9'; ++at_)
      if (__builtin_mul_overflow(value, 10u, &value) ||
          __builtin_add_overflow(value, static_cast<unsigned>(text_[at_] - '0'), &value))
        refuse("a number is too large");
    if (std::strchr(".eE", text_[at_]) != nullptr || (led_by_zero && at_ - begin > 1))
      refuse("a whole number is expected");
    return value;
  }
  void skip(int nested = 0) {
    if (nested > kMostNested) refuse("it is nested too deep");
    const char c = peek();
    if (c == '"') string();
    else if (c == '{') skip_members(nested);
    else if (c == '[') skip_elements(nested);
    else skip_word();
  }
  bool at_end() const { return at_ == text_.size(); }
  [[noreturn]] void refuse(const std::string& why) const {
    throw ProtocolError("the mappings are not the JSON that Firecracker sends: at byte " + std::to_string(at_) +
                        ": " + why);
  }

 private:
  char next_char() const {
    if (at_ >= text_.size()) throw Incomplete{};
    return text_[at_];
  }
  void skip_members(int nested) {
    expect('{');
    if (take('}')) return;
    do {
      string();
      expect(':');
      skip(nested + 1);
    } while (take(','));
    expect('}');
  }
  void skip_elements(int nested) {
    expect('[');
    if (take(']')) return;
    do skip(nested + 1);
    while (take(','));
    expect(']');
  }
  // A number, true, false or null: their letters are all that is looked at.
  void skip_word() {
    const auto begin = at_;
    const auto of_word = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E';
    };
    while (of_word(next_char())) ++at_;
    if (at_ == begin) refuse("a value is expected");
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

UffdRange read_mapping(Reader& reader) {
  UffdRange range;
  unsigned seen = 0;
  bool page_size_known = false;
  reader.expect('{');
  do {
    const auto name = reader.string();
    reader.expect(':');
    if (name == "base_host_virt_addr") range.address = reader.number(), seen |= 1;
    else if (name == "size") range.length = reader.number(), seen |= 2;
    else if (name == "offset") range.offset = reader.number(), seen |= 4;
    else if (name == "page_size") range.page_size = reader.number(), page_size_known = true;
    else if (name == "page_size_kib") {
      const auto value = reader.number();
      // Some versions mean what the name says.
      if (!page_size_known) range.page_size = value >= 4096 || value > ~0ull / 1024 ? value : value * 1024;
    } else reader.skip();
  } while (reader.take(','));
  reader.expect('}');
  if (seen != 7) reader.refuse("base_host_virt_addr, size and offset are needed");
  return range;
}

}  // namespace

std::optional<std::vector<UffdRange>> parse_firecracker(std::string_view text) try {
  Reader reader(text);
  std::vector<UffdRange> ranges;
  reader.expect('[');
  if (!reader.take(']')) {
    do {
      if (ranges.size() == kMostRanges) reader.refuse("there are too many mappings");
      ranges.push_back(read_mapping(reader));
    } while (reader.take(','));
    reader.expect(']');
  }
  try {
    reader.peek();
    reader.refuse("something follows the mappings");
  } catch (const Incomplete&) {
    return ranges;
  }
} catch (const Incomplete&) {
  if (text.size() > kMostPayload) throw ProtocolError("the mappings are longer than any that Firecracker sends");
  return {};
}

}  // namespace r3::uffd
