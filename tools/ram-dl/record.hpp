// SPDX-License-Identifier: Apache-2.0
// Which ram-dl swaps on what, in /run/r3tools/ram-dl: a file for each region, locked as long as its process lives.
// Two on one machine never use one region; what a killed one left is found by the next. Files that /run has
// after a restart of the machine do not exist, and neither do the devices.
#pragma once

#include <string>
#include <vector>

#include "libcommon/base/fd.hpp"

namespace r3 {

class Record {
 public:
  static constexpr const char* kDirectory = "/run/r3tools/ram-dl";

  // Takes the record of a region. Throws EBUSY, with who has it.
  explicit Record(const std::string& region, const std::string& directory = kDirectory);
  // Of those that no living process has.
  static std::vector<Record> left_behind(const std::string& directory = kDirectory);
  // The process that lives and swaps on the area with this UUID, whatever it calls the region; empty: none.
  static std::string living_with(const std::string& uuid, const std::string& directory = kDirectory);
  Record(Record&&) = default;
  // Removed by remove() only: what is still swapping is to be found.
  ~Record() = default;

  const std::string& region() const { return region_; }
  // The device that a killed process made, or that of set_device(); empty: none.
  const std::string& device() const { return device_; }
  // Of the swap area on it.
  const std::string& uuid() const { return uuid_; }
  void set_device(const std::string& path, const std::string& uuid);
  void remove();

 private:
  Record(std::string path, Fd file);
  void read();

  std::string path_;
  Fd file_;
  std::string region_, device_, uuid_, pid_;
};

}  // namespace r3
