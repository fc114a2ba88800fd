// SPDX-License-Identifier: Apache-2.0
// What tapisk writes on a tape (tapisk(1), TAPE FORMAT): a label, which is a tar archive of one small text, a filemark,
// then batches of records and a filemark each. Every record says what it is: whoever has the tape alone can find all
// that it holds. Pure bytes.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3 {

using TapeHash = std::array<std::byte, 16>;  // XXH3 of 128 bits, canonical

TapeHash tape_hash(ConstBytes bytes);
// 16 digits.
std::string hexadecimal(std::uint64_t value);

struct TapeLabel {
  std::uint64_t tape = 0;    // random: this writing of this tape
  std::uint64_t region = 0;  // random: the region, on whatever tape
  std::uint64_t size = 0;    // bytes of the region
  std::uint64_t chunk = 0;   // bytes of a block of it
  std::uint32_t block = 0;   // of the tape; 0: variable
  std::uint64_t copied = 0;  // generation of the region that was copied here; 0: it began here
  friend bool operator==(const TapeLabel&, const TapeLabel&) = default;
};

inline constexpr std::size_t kLabelBytes = 10240;  // what tar reads at once
inline constexpr std::uint64_t kLeastTapeChunk = 4 << 10, kMostTapeChunk = 1 << 20;
inline constexpr std::uint32_t kLeastTapeBlock = 512, kMostTapeBlock = 1 << 20;
inline constexpr std::uint64_t kMostTapeSize = ~std::uint64_t{0} >> 1;

// Whether a tape can have these figures.
bool is_possible(const TapeLabel& label);
// A multiple of the tape's block size, at least kLabelBytes.
std::vector<std::byte> encode_label(const TapeLabel& label);
// None if it is no such label, or has figures that none can have; `bytes` may be more than it has, or less (with large blocks).
std::optional<TapeLabel> decode_label(ConstBytes bytes);

enum class RecordKind : std::uint32_t {
  data = 1,     // of one block
  zero = 2,     // `count` blocks are zeroes
  commit = 3,   // the `count` records of this generation before it are valid
  damaged = 4,  // a copy: the block could not be read on the tape that it was copied from
};

struct RecordHeader {
  // Blocks that an earlier record is about; count 0: a commit, or nothing.
  struct Before {
    std::uint64_t block = 0, count = 0;
    friend bool operator==(const Before&, const Before&) = default;
  };
  static constexpr std::size_t kBefore = 3;

  std::uint64_t tape = 0;
  std::uint64_t generation = 0;  // of the batch
  std::uint64_t sequence = 0;    // of the record on this tape, from 1 on
  std::uint64_t block = 0;
  std::uint64_t count = 0;
  RecordKind kind = RecordKind::data;
  std::uint32_t length = 0;  // of the data that follow
  std::array<Before, kBefore> before{};  // the records before this one, the last one first
};

// One more record is before the next.
inline void push_before(std::array<RecordHeader::Before, RecordHeader::kBefore>& before, RecordHeader::Before one) {
  std::copy_backward(before.begin(), before.end() - 1, before.end());
  before[0] = one;
}

inline constexpr std::size_t kRecordHeader = 128;

// Writes the header of `data`, whose hash is given, to kRecordHeader bytes.
void encode_header(const RecordHeader& header, const TapeHash& data_hash, Bytes into);

struct Record {
  RecordHeader header;
  TapeHash hash{};  // of the data
  ConstBytes data;
};
// How long the record is that begins so; none if it is no record.
std::optional<std::uint32_t> data_length(ConstBytes first_bytes);
// None if it is no record, or one that is damaged. Borrows the bytes.
std::optional<Record> decode_record(ConstBytes bytes);

}  // namespace r3
