// SPDX-License-Identifier: Apache-2.0
// The bytes of the native protocol of Cassandra and Scylla, versions 4 and 5: requests are built, frames are cut
// out of what a server sends, and answers are taken apart. Knows no sockets. All that comes from a server is
// foreign: whatever it is, there is a ProtocolError or a right value, and no more memory than bytes that came.
// Source: Apache Cassandra, doc/native_protocol_v4.spec and native_protocol_v5.spec.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

enum class CqlOpcode : std::uint8_t {
  error = 0x00, startup = 0x01, ready = 0x02, authenticate = 0x03, query = 0x07, result = 0x08, prepare = 0x09,
  execute = 0x0a, event = 0x0c, auth_challenge = 0x0e, auth_response = 0x0f, auth_success = 0x10,
};

inline constexpr std::size_t kCqlHeader = 9;           // of a frame
inline constexpr std::uint32_t kCqlMostBody = 24 << 20;  // no answer to us is longer
inline constexpr std::size_t kCqlMostSegment = (1 << 17) - 1;

// The body of a request, piece by piece.
class CqlBody {
 public:
  CqlBody& u8(std::uint8_t value);
  CqlBody& u16(std::uint16_t value);
  CqlBody& u32(std::uint32_t value);
  CqlBody& u64(std::uint64_t value);
  CqlBody& text(std::string_view value);         // [string]: at most 65535 bytes, else std::invalid_argument
  CqlBody& long_text(std::string_view value);    // [long string]
  CqlBody& short_bytes(ConstBytes value);        // [short bytes]
  CqlBody& value(ConstBytes value);              // [bytes] or [value]
  CqlBody& raw(ConstBytes value) { return append(value); }  // what another body has
  ConstBytes bytes() const { return bytes_; }

 private:
  CqlBody& append(ConstBytes value);
  std::vector<std::byte> bytes_;
};

// Takes values off the front of a body; ProtocolError where they are cut off.
class CqlCursor {
 public:
  explicit CqlCursor(ConstBytes bytes) : left_(bytes) {}
  std::uint8_t u8();
  std::uint16_t u16();
  std::uint32_t u32();
  std::string_view text();
  ConstBytes short_bytes();
  std::optional<ConstBytes> value();  // of [bytes]; none for null
  ConstBytes take(std::size_t size);
  bool empty() const { return left_.empty(); }

 private:
  ConstBytes left_;
};

// Frames on their way out. With segments (version 5) several small ones share one, and a large one has several.
class CqlOutbox {
 public:
  explicit CqlOutbox(std::uint8_t version) : version_(version) {}
  void add(std::uint16_t stream, CqlOpcode opcode, const CqlBody& body, bool segments);
  // All that was added, to be sent; the outbox is empty afterwards.
  std::vector<std::byte> take();

 private:
  void seal(ConstBytes payload, bool whole_frames);
  void seal_small();

  const std::uint8_t version_;
  std::vector<std::byte> small_;  // whole frames for the next segment
  std::vector<std::byte> out_;
};

struct CqlFrame {
  std::uint8_t version = 0;
  std::uint16_t stream = 0;
  CqlOpcode opcode = CqlOpcode::error;
  std::vector<std::byte> body;  // without tracing, warnings and payload, which nobody asked for
};

// Frames on their way in.
class CqlInbox {
 public:
  // From now on they come in segments.
  void use_segments() { segments_ = true; }
  void feed(ConstBytes bytes);
  // The next frame that is complete.
  std::optional<CqlFrame> next();

 private:
  bool open_segment();

  bool segments_ = false;
  std::vector<std::byte> raw_;     // as it came, from raw_at_ on not yet understood
  std::size_t raw_at_ = 0;
  std::vector<std::byte> frames_;  // out of segments, likewise
  std::size_t frames_at_ = 0;
};

struct CqlRefusal {
  std::uint32_t code;
  std::string text;
};
CqlRefusal parse_cql_error(ConstBytes body);

// A RESULT of kind Prepared.
struct CqlPrepared {
  std::vector<std::byte> id, metadata_id;  // the second only in version 5
};
CqlPrepared parse_cql_prepared(ConstBytes body, std::uint8_t version);

// A RESULT of kind Rows: the values of the first row, which point into `body`; none if there is no row.
// A RESULT of another kind has no row either.
using CqlRow = std::vector<std::optional<ConstBytes>>;
std::optional<CqlRow> parse_cql_row(ConstBytes body);

}  // namespace r3
