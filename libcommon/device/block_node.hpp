// SPDX-License-Identifier: Apache-2.0
// A block device that this process serves, as its users see it: the node with its mode and owner, the link that
// leads to it, who uses it, and its end. Knows no driver. This process never has it open itself: the last one
// to close a device waits until what was written to it has reached whoever serves it (base/apart.hpp).
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "libcommon/device/driver.hpp"
#include "libcommon/storage/counted.hpp"

namespace r3 {

// What partition tables and file systems in an image count in, whoever made it.
inline constexpr std::uint32_t kSectorSize = 512;

// Throws std::invalid_argument for a size that no block device has.
void check_block_device_size(std::uint64_t size);

// Whether "/dev/loop3", "/dev/nbd0" or "/dev/ublkb1" shows anything; true for any other node that is there.
bool is_attached(const std::string& node);

// Somebody has claimed it (it is mounted, or swap), or has it open as far as this process may see.
bool is_in_use(const std::string& node);
// File systems, swap and devices on it, and processes that have it open.
std::vector<std::string> users_of(const std::string& node);

// A symbolic link to a device, where the user wants to find it; none for an empty path.
class DeviceLink {
 public:
  // Replaces a link to a device that is not in use: it was left by a process that was killed.
  DeviceLink(const std::string& path, const std::string& node);
  ~DeviceLink();
  DeviceLink(const DeviceLink&) = delete;
  DeviceLink& operator=(const DeviceLink&) = delete;

 private:
  std::string read() const;

  std::string path_;
  std::string node_;
};

class BlockNode {
 public:
  // Gives the node the mode and the owner that the options ask for.
  BlockNode(std::string path, const DeviceOptions& options);
  ~BlockNode() { give_back(); }
  BlockNode(const BlockNode&) = delete;
  BlockNode& operator=(const BlockNode&) = delete;

  const std::string& path() const { return path_; }

  // Until nobody uses it, for at most `patience`; says who does. `tick` is called every time that it looks again.
  // False if it is still in use.
  bool wait_until_unused(std::chrono::milliseconds patience, const std::function<void()>& tick) const;

  // Gives mode and owner back, for nodes that outlive what is attached to them. Once.
  void give_back() noexcept;

 private:
  std::string path_;
  struct stat before_{};
  bool given_back_ = false;
};

// Ends a device in the order that loses nothing: what the kernel holds of it is written out, its users are
// waited for (options.grace), `take_away` is called, the backend is flushed. When nothing gets on for as long, the
// backend is abandoned. Throws if anything was lost, or was taken away from somebody.
void end_block_device(BlockNode& node, Backend& backend, const DeviceOptions& options,
                      const std::function<DeviceCounters()>& counters, const std::function<void()>& take_away);

DeviceCounters counters_of(const Counted& backend);

// "8192" into /sys/block/NAME/queue/`setting`; a device works without it, slower.
void tune_queue(const std::string& node, const char* setting, std::uint64_t value) noexcept;

}  // namespace r3
