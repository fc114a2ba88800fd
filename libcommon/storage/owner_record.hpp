// SPDX-License-Identifier: Apache-2.0
// Who owns a region that can be moved, as a file that outlives the process and a power loss; each side of a
// migration has one (r3-seed(1), FILES). Written whole or not at all. Knows what is kept, not what follows
// from it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"

namespace r3 {

struct OwnerRecord {
  enum class State : std::uint32_t {
    owner = 1,       // the region is here
    suspended = 2,   // likewise, and its application was told to stop
    given = 3,       // another side owns it, and may read what it does not have yet
    gone = 4,        // another side has all of it
    pulling = 5,     // a copy that is not complete
    committing = 6,  // likewise, and whether it has become the owner only the other side knows
  };
  State state = State::owner;
  std::uint64_t size = 0;                // of the region
  std::array<std::byte, 16> leecher{};   // whose attempt it is
  std::uint64_t token = 0;               // of the hand-over; owner: not 0 until the other side knows
  friend bool operator==(const OwnerRecord&, const OwnerRecord&) = default;
};
inline constexpr std::size_t kOwnerRecordSize = 56;

std::string encode(const OwnerRecord& record);
// Throws std::system_error (EINVAL, naming `name`) for what is no such record.
OwnerRecord decode_owner_record(ConstBytes bytes, const std::string& name);
const char* to_text(OwnerRecord::State state);

class OwnerFile {
 public:
  // Nobody else has the file as long as this lives: throws EBUSY. An empty path keeps nothing.
  explicit OwnerFile(std::string path);

  const std::string& path() const { return path_; }
  std::optional<OwnerRecord> read() const;
  // Durable when it returns.
  void write(const OwnerRecord& record) const;

 private:
  const std::string path_;
  Fd lock_;
};

}  // namespace r3
