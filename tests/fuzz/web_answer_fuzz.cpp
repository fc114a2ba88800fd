// SPDX-License-Identifier: Apache-2.0
// What a web server, or a store behind one, may answer: heads, ranges, pauses, XML, and the label of a region.
#include <cstdlib>
#include <stdexcept>
#include <system_error>

#include "tools/regions/object_region.hpp"
#include "tools/regions/web/answer.hpp"

namespace {

using namespace r3;

void require(bool holds) {
  if (!holds) std::abort();
}

void take_head(std::string_view head) {
  WebAnswer answer;
  while (!head.empty()) {
    const auto line = head.substr(0, head.find('\n') + 1);
    if (!answer.add_header(line.empty() ? head : line)) return;
    head.remove_prefix(line.empty() ? head.size() : line.size());
  }
  for (const auto& [name, value] : answer.headers) {
    require(name.find(':') == name.npos);
    require(value.empty() || (value.front() != ' ' && value.back() != '\n'));
    require(answer.header(name) == value);
  }
}

void take_range(std::string_view text) {
  const auto range = parse_content_range(text);
  if (!range) return;
  require(!range->part || range->part->first <= range->part->last);
  require(!range->part || !range->whole || range->part->last < *range->whole);
}

void take_pause(const std::string& text) {
  const auto pause = parse_retry_after(text, 1'700'000'000);
  require(!pause || (pause->count() >= 0 && pause->count() <= 366 * 24 * 3600));
}

void take_code(std::string_view text) {
  const auto code = s3_error_code(text);
  require(code.size() <= 64 && text.find(code) != text.npos);
  for (const char c : code) require(c >= '0' && c <= 'z');
}

class OneLabel final : public ObjectStore {
 public:
  explicit OneLabel(std::string_view text) : text_(text) {}
  void get(std::span<Get>) override {}
  void put(std::span<const Put>) override {}
  void remove(std::span<const std::uint64_t>) override {}
  void flush() override {}
  std::optional<std::string> get_label() override { return text_; }
  bool make_label(const std::string&) override { return std::abort(), false; }

 private:
  const std::string text_;
};

void take_label(std::string_view text) try {
  const auto region = open_object_region(std::make_unique<OneLabel>(text), {}, "fuzz");
  const auto chunk = region.backend->block_size();
  require(chunk >= 4096 && (chunk & (chunk - 1)) == 0 && region.instance != 0);
} catch (const std::system_error& error) {
  require(error.code().value() == EILSEQ);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 5) {
    case 0: take_head(text); break;
    case 1: take_range(text); break;
    case 2: take_pause(text); break;
    case 3: take_code(text); break;
    default: take_label(text);
  }
  return 0;
}
