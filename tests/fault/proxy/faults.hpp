// SPDX-License-Identifier: Apache-2.0
// What goes wrong with the bytes of a stream: records of it are flipped, dropped, doubled or swapped.
// What happens to a record is decided by the seed and the record's number alone, so that the same
// bytes suffer the same faults however they were cut up on the way. Knows no sockets and no time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "libcommon/base/bytes.hpp"

namespace r3::fault {

// How a stream is cut into records: blocks of a size, or an integer that counts the bytes behind it.
struct Framing {
  std::uint32_t block = 1024;   // bytes; not used with a prefix
  unsigned prefix = 0;          // bytes of the integer: 0 (blocks), 2 or 4
  bool little_endian = false;
};

// "4K", "be16", "le16", "be32", "le32"; std::invalid_argument for anything else.
Framing parse_framing(std::string_view text);

struct FaultPlan {
  std::uint64_t seed = 1;
  double flip = 0;       // probabilities for each record, 0 to 1
  double drop = 0;
  double duplicate = 0;
  double reorder = 0;
  Framing framing;
  std::uint64_t skip = 0;  // bytes at the start of each stream that stay as they are

  bool any() const { return flip > 0 || drop > 0 || duplicate > 0 || reorder > 0; }
};

struct FaultCounts {
  std::atomic<std::uint64_t> flipped{0};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> duplicated{0};
  std::atomic<std::uint64_t> reordered{0};
};

class FaultStream {
 public:
  // `stream` tells streams apart that share a seed. Borrows the plan and the counts.
  FaultStream(const FaultPlan& plan, std::uint64_t stream, FaultCounts& counts);

  // Appends to `out` what the far side shall see for `in`. Only a swapped record, the second copy
  // of one, and a length that is not complete yet are kept back.
  void pass(ConstBytes in, std::vector<std::byte>& out);
  // The stream has ended: appends what was kept back.
  void finish(std::vector<std::byte>& out);

 private:
  ConstBytes take_prefix(ConstBytes in, std::vector<std::byte>& out);
  void begin_record(std::uint64_t length);
  void add_to_record(ConstBytes part, std::vector<std::byte>& out);
  void end_record(std::vector<std::byte>& out);
  std::uint64_t draw(std::uint64_t kind) const;
  bool happens(std::uint64_t kind, double probability) const;

  const FaultPlan& plan_;
  FaultCounts& counts_;
  std::uint64_t key_;
  std::uint64_t skip_;
  std::uint64_t record_ = 0;  // number of the current record
  std::uint64_t length_ = 0;  // of the current record; 0: between two records
  std::uint64_t done_ = 0;    // bytes of it that have been seen
  bool dropping_ = false;
  bool doubling_ = false;
  bool holding_ = false;      // the current record goes behind the next one
  std::uint64_t flip_at_ = 0;  // bit; past the end: none
  std::array<std::byte, 4> prefix_{};
  std::size_t prefix_seen_ = 0;
  std::vector<std::byte> copy_;
  std::vector<std::byte> held_;
};

}  // namespace r3::fault
