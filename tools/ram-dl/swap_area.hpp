// SPDX-License-Identifier: Apache-2.0
// What the kernel wants to find in a swap area (mkswap(8), include/linux/swap.h), and who says that it is his.
// Knows the bytes, not devices.
//
//   offset   bytes  what
//   0        1024   not the kernel's: here the owner's record (below)
//   1024     4      version: 1
//   1028     4      the last page: pages - 1
//   1032     4      how many bad pages follow: 0
//   1036     16     UUID
//   1052     16     label
//   page-10  10     "SWAPSPACE2"
//
// The record: "ram-dl\0\1", then the owner's name, ended by a zero. It is there while a machine swaps here, so
// that no second one does.
#pragma once

#include <cstdint>
#include <string>

#include "libcommon/storage/backend.hpp"

namespace r3 {

enum class AreaState { empty, swap, hibernation, other };

class SwapArea {
 public:
  // Reads the first and the last MiB. Throws EFBIG if the region is larger than swap can be, EINVAL if it is too
  // small. Borrows the region.
  SwapArea(Backend& region, std::string name);

  AreaState state() const { return state_; }
  // Who swaps there, or was killed doing so; empty: nobody.
  const std::string& owner() const { return owner_; }
  // Another one each time that write() is called; empty unless it is swap.
  const std::string& uuid() const { return uuid_; }

  // EEXIST, with what is there, unless the region is empty or unused swap; `me` may be left from before.
  void check_free(const std::string& me) const;
  // Makes it a swap area of `me`.
  void write(const std::string& me);
  // No longer.
  void release();

 private:
  void look();

  Backend& region_;
  const std::string name_;
  const std::uint64_t page_;
  std::uint64_t pages_ = 0;
  AreaState state_ = AreaState::other;
  std::string owner_, uuid_;
};

// This machine, for the owner's record.
std::string name_of_machine();

}  // namespace r3
