// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/reel/record.hpp"

#include <xxhash.h>
// XXH3 with the widest instructions that the processor has.
#include <xxh_x86dispatch.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdio>
#include <map>

namespace r3 {

namespace {

constexpr std::uint64_t kMagic = 0x3145504154335201;  // "\1R3TAPE1"
constexpr std::size_t kHashAt = kRecordHeader - sizeof(TapeHash);
constexpr std::size_t kTarHeader = 512;
constexpr std::string_view kName = "r3tools-tape-label.txt";
constexpr std::string_view kFirstLine = "r3tools tape 1\n";

// The header without the hash, and the hash of the data.
TapeHash record_hash(ConstBytes header, const TapeHash& data_hash) {
  std::array<std::byte, kRecordHeader> all;
  std::copy_n(header.begin(), kHashAt, all.begin());
  std::copy(data_hash.begin(), data_hash.end(), all.begin() + kHashAt);
  return tape_hash(all);
}

std::string hash_text(const TapeHash& hash) {
  return hexadecimal(load_be<std::uint64_t>(hash.data())) + hexadecimal(load_be<std::uint64_t>(hash.data() + 8));
}

std::string text_of(const TapeLabel& label) {
  std::string text(kFirstLine);
  text += "tape " + hexadecimal(label.tape) + "\nregion " + hexadecimal(label.region) + "\nsize " +
          std::to_string(label.size) + "\nchunk " + std::to_string(label.chunk) + "\nblock " +
          std::to_string(label.block) + "\ncopied " + std::to_string(label.copied) + "\n";
  return text + "hash " + hash_text(tape_hash(as_bytes(text))) + "\n";
}

// POSIX.1-1988 (ustar).
void put_tar_header(Bytes into, std::size_t length) {
  const auto put = [&](std::size_t at, std::string_view text) {
    std::ranges::copy(as_bytes(text), into.begin() + static_cast<std::ptrdiff_t>(at));
  };
  const auto octal = [](std::size_t value, int digits) {
    std::array<char, 24> text;
    std::snprintf(text.data(), text.size(), "%0*zo", digits, value);
    return std::string(text.data());
  };
  put(0, kName);
  put(100, "0000444");
  put(108, "0000000");
  put(116, "0000000");
  put(124, octal(length, 11));
  put(136, "00000000000");
  put(148, "        ");
  put(156, "0");
  put(257, std::string_view("ustar\00000", 8));
  std::size_t sum = 0;
  for (const std::byte one : into.first(kTarHeader)) sum += std::to_integer<std::size_t>(one);
  put(148, octal(sum, 6) + std::string("\0 ", 2));
}

template <class Integer>
bool take(const std::map<std::string_view, std::string_view>& lines, std::string_view name, int base, Integer& into) {
  const auto line = lines.find(name);
  if (line == lines.end()) return false;
  const auto text = line->second;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), into, base);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

}  // namespace

std::string hexadecimal(std::uint64_t value) {
  std::array<char, 17> text;
  std::snprintf(text.data(), text.size(), "%016llx", static_cast<unsigned long long>(value));
  return text.data();
}

TapeHash tape_hash(ConstBytes bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  TapeHash hash;
  std::memcpy(hash.data(), canonical.digest, hash.size());
  return hash;
}

// Tapes come from anywhere, and who can write a label can also make its hash right.
bool is_possible(const TapeLabel& label) {
  return std::has_single_bit(label.chunk) && label.chunk >= kLeastTapeChunk && label.chunk <= kMostTapeChunk &&
         (label.block == 0 || (label.block >= kLeastTapeBlock && label.block <= kMostTapeBlock)) &&
         label.size <= kMostTapeSize;
}

std::vector<std::byte> encode_label(const TapeLabel& label) {
  const std::string text = text_of(label);
  std::vector<std::byte> bytes(round_up(kLabelBytes, std::max<std::uint32_t>(label.block, 1)));
  put_tar_header(bytes, text.size());
  std::ranges::copy(as_bytes(text), bytes.begin() + kTarHeader);
  return bytes;
}

std::optional<TapeLabel> decode_label(ConstBytes bytes) {
  if (bytes.size() <= kTarHeader || !as_text(bytes).starts_with(kName)) return {};
  std::string_view text = as_text(bytes.subspan(kTarHeader));
  text = text.substr(0, text.find('\0'));
  const auto hash_at = text.rfind("hash ");
  if (!text.starts_with(kFirstLine) || hash_at == text.npos) return {};
  const auto told = text.substr(0, hash_at);
  if (text.substr(hash_at) != "hash " + hash_text(tape_hash(as_bytes(told))) + "\n") return {};
  std::map<std::string_view, std::string_view> lines;
  for (std::string_view rest = told; !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto space = line.find(' ');
    if (space != line.npos) lines[line.substr(0, space)] = line.substr(space + 1);
  }
  TapeLabel label;
  if (!take(lines, "tape", 16, label.tape) || !take(lines, "region", 16, label.region) ||
      !take(lines, "size", 10, label.size) || !take(lines, "chunk", 10, label.chunk) ||
      !take(lines, "block", 10, label.block) || !take(lines, "copied", 10, label.copied))
    return {};
  return is_possible(label) ? std::optional(label) : std::nullopt;
}

void encode_header(const RecordHeader& header, const TapeHash& data_hash, Bytes into) {
  std::byte* to = into.data();
  const auto put = [&to](auto value) {
    store_le(to, value);
    to += sizeof value;
  };
  put(kMagic);
  for (const auto value : {header.tape, header.generation, header.sequence, header.block, header.count}) put(value);
  put(static_cast<std::uint32_t>(header.kind));
  put(header.length);
  for (const auto& one : header.before) {
    put(one.block);
    put(one.count);
  }
  put(std::uint64_t{0});  // not used
  const TapeHash hash = record_hash(into, data_hash);
  std::ranges::copy(hash, to);
}

std::optional<std::uint32_t> data_length(ConstBytes bytes) {
  if (bytes.size() < kRecordHeader || load_le<std::uint64_t>(bytes.data()) != kMagic) return {};
  return load_le<std::uint32_t>(bytes.data() + 52);
}

std::optional<Record> decode_record(ConstBytes bytes) {
  const auto length = data_length(bytes);
  if (!length || bytes.size() - kRecordHeader < *length) return {};
  const std::byte* from = bytes.data() + 8;
  const auto take64 = [&from] {
    from += 8;
    return load_le<std::uint64_t>(from - 8);
  };
  Record record;
  RecordHeader& header = record.header;
  for (auto* value : {&header.tape, &header.generation, &header.sequence, &header.block, &header.count}) *value = take64();
  header.kind = RecordKind{load_le<std::uint32_t>(from)};
  header.length = *length;
  from += 8;
  for (auto& one : header.before) {
    one.block = take64();
    one.count = take64();
  }
  record.data = bytes.subspan(kRecordHeader, *length);
  record.hash = tape_hash(record.data);
  const TapeHash hash = record_hash(bytes, record.hash);
  if (!std::equal(hash.begin(), hash.end(), bytes.begin() + kHashAt)) return {};
  if (header.kind < RecordKind::data || header.kind > RecordKind::damaged) return {};
  return record;
}

}  // namespace r3
