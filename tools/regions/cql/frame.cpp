// SPDX-License-Identifier: Apache-2.0
#include "tools/regions/cql/frame.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <utility>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::uint32_t kWholeFrames = 1 << 17;  // in a segment's header: it ends where a frame ends
constexpr std::size_t kSegmentHeader = 6, kSegmentTrailer = 4;
enum Flags : std::uint8_t { compressed = 1, traced = 2, with_payload = 4, warned = 8 };
enum Kind : std::uint32_t { rows = 2, prepared = 4 };
enum MetadataFlags : std::uint32_t { one_table = 1, more_pages = 2, no_metadata = 4, metadata_changed = 8 };

[[noreturn]] void nonsense(const char* what) {
  throw ProtocolError(std::string("the Cassandra server answers nonsense: ") + what);
}

void append(std::vector<std::byte>& to, ConstBytes bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

template <class Integer>
void append_be(std::vector<std::byte>& to, Integer value) {
  std::array<std::byte, sizeof value> bytes;
  store_be(bytes.data(), value);
  append(to, bytes);
}

void append_le(std::vector<std::byte>& to, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<std::byte>(value >> 8 * i));
}

std::uint32_t load_le24(const std::byte* from) {
  return std::to_integer<std::uint32_t>(from[0]) | std::to_integer<std::uint32_t>(from[1]) << 8 |
         std::to_integer<std::uint32_t>(from[2]) << 16;
}

// Of the first three bytes of a segment.
std::uint32_t crc24(std::uint32_t header) {
  std::uint32_t crc = 0x875060;
  for (int byte = 0; byte < 3; ++byte, header >>= 8) {
    crc ^= (header & 0xff) << 16;
    for (int bit = 0; bit < 8; ++bit) {
      crc <<= 1;
      if (crc & 0x1000000) crc ^= 0x1974f0b;
    }
  }
  return crc;
}

// The protocol starts it with four bytes of its own, so that zeroes do not check themselves.
std::uint32_t crc32_of(ConstBytes payload) {
  static constexpr std::array<unsigned char, 4> kFirst = {0xfa, 0x2d, 0x55, 0xca};
  const auto begun = ::crc32(0, kFirst.data(), kFirst.size());
  return static_cast<std::uint32_t>(
      ::crc32(begun, reinterpret_cast<const unsigned char*>(payload.data()), static_cast<unsigned>(payload.size())));
}

// Cuts off what has been understood, now and then.
void shorten(std::vector<std::byte>& bytes, std::size_t& at) {
  if (at < bytes.size() && at < 1 << 20) return;
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  at = 0;
}

ConstBytes without_extras(ConstBytes body, std::uint8_t flags) {
  CqlCursor cursor(body);
  std::size_t extra = 0;
  const auto skip_text = [&] { extra += 2 + cursor.text().size(); };
  if (flags & traced) extra += cursor.take(16).size();
  if (flags & warned) {
    extra += 2;
    for (auto n = cursor.u16(); n > 0; --n) skip_text();
  }
  if (flags & with_payload) {
    extra += 2;
    for (auto n = cursor.u16(); n > 0; --n) {
      skip_text();
      const auto value = cursor.value();
      extra += 4 + (value ? value->size() : 0);
    }
  }
  return body.subspan(extra);
}

// Of a column; the nested ones are in no table of ours.
void skip_type(CqlCursor& cursor) {
  const auto id = cursor.u16();
  if (id == 0) cursor.text();
  else if (id > 0x15) nonsense("a column has an unknown type");
}

}  // namespace

CqlBody& CqlBody::append(ConstBytes value) { return r3::append(bytes_, value), *this; }
CqlBody& CqlBody::u8(std::uint8_t value) { return append_be(bytes_, value), *this; }
CqlBody& CqlBody::u16(std::uint16_t value) { return append_be(bytes_, value), *this; }
CqlBody& CqlBody::u32(std::uint32_t value) { return append_be(bytes_, value), *this; }
CqlBody& CqlBody::u64(std::uint64_t value) { return append_be(bytes_, value), *this; }

CqlBody& CqlBody::text(std::string_view value) { return short_bytes(as_bytes(value)); }

CqlBody& CqlBody::long_text(std::string_view value) { return this->value(as_bytes(value)); }

CqlBody& CqlBody::short_bytes(ConstBytes value) {
  if (value.size() > 0xffff) throw std::invalid_argument("a text of more than 65535 bytes");
  return u16(static_cast<std::uint16_t>(value.size())).append(value);
}

CqlBody& CqlBody::value(ConstBytes value) {
  return u32(static_cast<std::uint32_t>(value.size())).append(value);
}

ConstBytes CqlCursor::take(std::size_t size) {
  if (size > left_.size()) nonsense("an answer is cut off");
  const auto taken = left_.first(size);
  left_ = left_.subspan(size);
  return taken;
}

std::uint8_t CqlCursor::u8() { return std::to_integer<std::uint8_t>(take(1)[0]); }
std::uint16_t CqlCursor::u16() { return load_be<std::uint16_t>(take(2).data()); }
std::uint32_t CqlCursor::u32() { return load_be<std::uint32_t>(take(4).data()); }
std::string_view CqlCursor::text() { return as_text(take(u16())); }
ConstBytes CqlCursor::short_bytes() { return take(u16()); }

std::optional<ConstBytes> CqlCursor::value() {
  const auto size = static_cast<std::int32_t>(u32());
  if (size < 0) return std::nullopt;
  return take(static_cast<std::size_t>(size));
}

void CqlOutbox::add(std::uint16_t stream, CqlOpcode opcode, const CqlBody& body, bool segments) {
  std::vector<std::byte> head;
  append_be(head, version_);
  append_be(head, std::uint8_t{0});
  append_be(head, stream);
  append_be(head, static_cast<std::uint8_t>(opcode));
  append_be(head, static_cast<std::uint32_t>(body.bytes().size()));
  const auto size = head.size() + body.bytes().size();
  if (segments && small_.size() + size > kCqlMostSegment) seal_small();
  std::vector<std::byte>& to = segments ? small_ : out_;
  append(to, head);
  append(to, body.bytes());
  if (small_.size() <= kCqlMostSegment) return;
  const auto large = std::exchange(small_, {});
  for (ConstBytes left = large; !left.empty(); left = left.subspan(std::min(left.size(), kCqlMostSegment)))
    seal(left.first(std::min(left.size(), kCqlMostSegment)), false);
}

void CqlOutbox::seal(ConstBytes payload, bool whole_frames) {
  const auto header = static_cast<std::uint32_t>(payload.size()) | (whole_frames ? kWholeFrames : 0);
  append_le(out_, header, 3);
  append_le(out_, crc24(header), 3);
  append(out_, payload);
  append_le(out_, crc32_of(payload), 4);
}

void CqlOutbox::seal_small() {
  if (!small_.empty()) seal(small_, true);
  small_.clear();
}

std::vector<std::byte> CqlOutbox::take() {
  seal_small();
  return std::exchange(out_, {});
}

void CqlInbox::feed(ConstBytes bytes) {
  shorten(raw_, raw_at_);
  append(raw_, bytes);
}

// Moves the payload of one segment to the frames; false if it is not complete.
bool CqlInbox::open_segment() {
  const ConstBytes raw = ConstBytes(raw_).subspan(raw_at_);
  if (raw.size() < kSegmentHeader) return false;
  const auto header = load_le24(raw.data());
  if (crc24(header) != load_le24(raw.data() + 3)) nonsense("the checksum of a segment's header is wrong");
  const std::size_t size = header & kCqlMostSegment;
  if (raw.size() < kSegmentHeader + size + kSegmentTrailer) return false;
  const auto payload = raw.subspan(kSegmentHeader, size);
  if (crc32_of(payload) != load_le<std::uint32_t>(payload.data() + size))
    nonsense("the checksum of a segment is wrong");
  shorten(frames_, frames_at_);
  append(frames_, payload);
  raw_at_ += kSegmentHeader + size + kSegmentTrailer;
  return true;
}

std::optional<CqlFrame> CqlInbox::next() {
  while (segments_ && open_segment()) {
  }
  std::vector<std::byte>& bytes = segments_ ? frames_ : raw_;
  std::size_t& at = segments_ ? frames_at_ : raw_at_;
  CqlCursor cursor(ConstBytes(bytes).subspan(at));
  if (bytes.size() - at < kCqlHeader) return std::nullopt;
  CqlFrame frame;
  frame.version = cursor.u8();
  if (!(frame.version & 0x80)) nonsense("what it sends is no answer");
  frame.version &= 0x7f;
  const auto flags = cursor.u8();
  frame.stream = cursor.u16();
  frame.opcode = static_cast<CqlOpcode>(cursor.u8());
  const auto length = cursor.u32();
  if (length > kCqlMostBody) nonsense("an answer is longer than any that was asked for");
  if (bytes.size() - at - kCqlHeader < length) return std::nullopt;
  if (flags & compressed) nonsense("it compresses, which was not asked for");
  const auto body = without_extras(cursor.take(length), flags);
  frame.body.assign(body.begin(), body.end());
  at += kCqlHeader + length;
  return frame;
}

CqlRefusal parse_cql_error(ConstBytes body) {
  CqlCursor cursor(body);
  const auto code = cursor.u32();
  return {code, std::string(cursor.text())};
}

CqlPrepared parse_cql_prepared(ConstBytes body, std::uint8_t version) {
  CqlCursor cursor(body);
  if (cursor.u32() != Kind::prepared) nonsense("it does not say how to run what it was to prepare");
  CqlPrepared made;
  const auto id = cursor.short_bytes();
  made.id.assign(id.begin(), id.end());
  if (version < 5) return made;
  const auto metadata = cursor.short_bytes();
  made.metadata_id.assign(metadata.begin(), metadata.end());
  return made;
}

std::optional<CqlRow> parse_cql_row(ConstBytes body) {
  CqlCursor cursor(body);
  if (cursor.u32() != Kind::rows) return std::nullopt;
  const auto flags = cursor.u32();
  const auto columns = cursor.u32();
  if (columns > 64) nonsense("a row has more columns than were asked for");
  if (flags & more_pages) cursor.value();
  if (flags & metadata_changed) cursor.short_bytes();
  if (!(flags & no_metadata)) {
    const auto table = [&] { cursor.text(), cursor.text(); };
    if (flags & one_table) table();
    for (std::uint32_t i = 0; i < columns; ++i) {
      if (!(flags & one_table)) table();
      cursor.text();
      skip_type(cursor);
    }
  }
  if (cursor.u32() == 0) return std::nullopt;
  CqlRow row;
  for (std::uint32_t i = 0; i < columns; ++i) row.push_back(cursor.value());
  return row;
}

}  // namespace r3
