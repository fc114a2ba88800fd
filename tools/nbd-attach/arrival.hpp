// SPDX-License-Identifier: Apache-2.0
// When a device that was just attached can be opened: two ways to find out, of which the choice is the user's.
#pragma once

#include <chrono>
#include <string>

#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

class Arrival {
 public:
  enum class Way { sysfs, udev };  // looks at sysfs again and again; waits for the kernel's uevent

  // Made before the device is attached, so that no event is missed.
  explicit Arrival(Way way);

  // Returns when /dev/nbdN is there and has a size. Throws ETIMEDOUT after `patience`, ECANCELED.
  void wait_for_device(unsigned index, std::chrono::milliseconds patience, const Stop& stop);

 private:
  bool wait_for_news(std::chrono::milliseconds most, const Stop& stop);

  Way way_;
  Fd events_;
};

// "sysfs" or "udev"; throws std::invalid_argument.
Arrival::Way parse_way(const std::string& text);

}  // namespace r3
