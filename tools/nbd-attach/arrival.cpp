// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-attach/arrival.hpp"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/device/nbd_kernel.hpp"

namespace r3 {

namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollEvery{1};
constexpr unsigned kKernelEvents = 1;  // the group that the kernel tells, with or without a udevd

bool usable(unsigned index) {
  const NbdDevice device = read_nbd_device(index);
  struct stat status {};
  return device.size > 0 && ::stat(device.path().c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

}  // namespace

Arrival::Arrival(Way way) : way_(way) {
  if (way_ != Way::udev) return;
  events_.reset(check(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT),
                      "uevents"));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = kKernelEvents;
  check(::bind(events_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "uevents");
}

// False when the stop is requested.
bool Arrival::wait_for_news(milliseconds most, const Stop& stop) {
  if (way_ == Way::sysfs) return !stop.wait_for(std::min(kPollEvery, most));
  const Wait waited = wait_for(events_.get(), POLLIN, stop, static_cast<int>(most.count()));
  std::array<char, 4096> event;  // whose it is, sysfs tells
  while (waited == Wait::ready && ::recv(events_.get(), event.data(), event.size(), 0) > 0) continue;
  return waited != Wait::stopped;
}

void Arrival::wait_for_device(unsigned index, milliseconds patience, const Stop& stop) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!usable(index)) {
    const auto left = std::chrono::ceil<milliseconds>(end - std::chrono::steady_clock::now());
    const std::string name = "/dev/nbd" + std::to_string(index);
    if (left.count() <= 0) fail(ETIMEDOUT, name + ": does not become usable");
    if (!wait_for_news(left, stop)) fail(ECANCELED, name);
  }
}

Arrival::Way parse_way(const std::string& text) {
  if (text == "sysfs") return Arrival::Way::sysfs;
  if (text == "udev") return Arrival::Way::udev;
  throw std::invalid_argument("--wait: \"" + text + "\" is not sysfs or udev");
}

}  // namespace r3
