// SPDX-License-Identifier: Apache-2.0
// The kernel's own NBD client (drivers/block/nbd.c, linux/nbd-netlink.h): connections whose handshake is done
// become /dev/nbdN. Knows nothing of servers and handshakes. The kernel speaks simple replies only.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/device/generic_netlink.hpp"

namespace r3 {

struct NbdDeviceSettings {
  std::uint64_t size = 0;
  std::uint32_t block_size = 512;  // a power of two from 512 to a page
  std::uint16_t flags = 0;         // what the server said of the export
  std::chrono::seconds timeout{30};        // a request that is not answered makes its link dead; 0: never
  std::chrono::seconds dead_timeout{300};  // I/O fails when there has been no link for so long; 0: at once
  std::string identifier;          // of the export: only who knows it may give new links
};

// One thread at a time, but for two objects.
class NbdKernel {
 public:
  // Throws std::system_error that says what to do if the kernel has no NBD client, or will not hear us.
  NbdKernel();

  // Makes a device of connected sockets, which the kernel keeps for itself: the caller closes its own.
  // Without `index` the kernel picks a free one. Returns the index. EBUSY: the device is in use.
  unsigned connect(std::optional<unsigned> index, const NbdDeviceSettings& settings,
                   std::span<const int> sockets);
  // Puts `socket` in the place of a dead link; without one, nothing happens.
  void replace_link(unsigned index, const std::string& identifier, int socket);
  // The device has `size` bytes from now on.
  void resize(unsigned index, const std::string& identifier, std::uint64_t size);
  // Ends the device at once: what waits for it fails.
  void disconnect(unsigned index);

  // Waits for a link of the device to die; false when `milliseconds` have passed or the stop is requested.
  bool link_died(unsigned index, int milliseconds, const Stop& stop);

 private:
  GenericNetlink netlink_;
};

// As sysfs shows it, without touching the device.
struct NbdDevice {
  unsigned index = 0;
  std::uint64_t size = 0;   // 0: nothing is attached
  int pid = 0;              // who attached it; 0: nobody
  std::string identifier;   // what settings.identifier was
  std::string path() const { return "/dev/nbd" + std::to_string(index); }
};

NbdDevice read_nbd_device(unsigned index);
// Those that are attached, by index.
std::vector<NbdDevice> attached_nbd_devices();
// "/dev/nbd3", "nbd3" or "3"; throws std::invalid_argument.
unsigned parse_nbd_device(const std::string& text);

}  // namespace r3
