// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/nbd_kernel.hpp"

#include <linux/nbd-netlink.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "libcommon/base/error.hpp"
#include "libcommon/base/sizes.hpp"

namespace r3 {

namespace {

constexpr unsigned kMostDevices = 1U << 20;  // MINORBITS
constexpr std::uint64_t kSector = 512;

GenericNetlink open_family() {
  try {
    return GenericNetlink(NBD_GENL_FAMILY_NAME);
  } catch (const std::system_error& error) {
    if (error.code().value() != ENOENT) throw;
    fail(ENODEV, "the kernel has no NBD client; as root, load it: modprobe nbd");
  }
}

NetlinkAttributes socket_list(std::span<const int> sockets) {
  NetlinkAttributes list;
  for (const int socket : sockets) {
    NetlinkAttributes item;
    item.add(NBD_SOCK_FD, static_cast<std::uint32_t>(socket));
    list.add(NBD_SOCK_ITEM, item);
  }
  return list;
}

std::string sysfs(unsigned index, const char* name) {
  try {
    std::string text = read_small_file("/sys/block/nbd" + std::to_string(index) + "/" + name, 4096);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  } catch (const std::system_error&) {  // it is not attached, or has just gone
    return {};
  }
}

std::uint64_t number_or_none(const std::string& text) {
  return text.empty() ? 0 : parse_number(text, UINT64_MAX);
}

}  // namespace

NbdKernel::NbdKernel() : netlink_(open_family()) {
  netlink_.join(NBD_GENL_MCAST_GROUP_NAME);
}

unsigned NbdKernel::connect(std::optional<unsigned> index, const NbdDeviceSettings& settings,
                            std::span<const int> sockets) {
  NetlinkAttributes request;
  if (index) request.add(NBD_ATTR_INDEX, std::uint32_t{*index});
  request.add(NBD_ATTR_SIZE_BYTES, settings.size)
      .add(NBD_ATTR_BLOCK_SIZE_BYTES, std::uint64_t{settings.block_size})
      .add(NBD_ATTR_SERVER_FLAGS, std::uint64_t{settings.flags})
      .add(NBD_ATTR_CLIENT_FLAGS, std::uint64_t{0});
  if (settings.timeout.count() > 0)
    request.add(NBD_ATTR_TIMEOUT, static_cast<std::uint64_t>(settings.timeout.count()));
  if (settings.dead_timeout.count() > 0)
    request.add(NBD_ATTR_DEAD_CONN_TIMEOUT, static_cast<std::uint64_t>(settings.dead_timeout.count()));
  request.add(NBD_ATTR_BACKEND_IDENTIFIER, settings.identifier)
      .add(NBD_ATTR_SOCKETS, socket_list(sockets));
  const std::string what = index ? "/dev/nbd" + std::to_string(*index) : "a free /dev/nbdN";
  const auto given = netlink_.ask(NBD_CMD_CONNECT, request, what).number(NBD_ATTR_INDEX);
  if (!given) fail(EPROTO, what + ": the kernel does not say which device it took");
  return *given;
}

void NbdKernel::replace_link(unsigned index, const std::string& identifier, int socket) {
  NetlinkAttributes request;
  request.add(NBD_ATTR_INDEX, std::uint32_t{index})
      .add(NBD_ATTR_BACKEND_IDENTIFIER, identifier)
      .add(NBD_ATTR_SOCKETS, socket_list({&socket, 1}));
  netlink_.ask(NBD_CMD_RECONFIGURE, request, "/dev/nbd" + std::to_string(index));
}

void NbdKernel::resize(unsigned index, const std::string& identifier, std::uint64_t size) {
  NetlinkAttributes request;
  request.add(NBD_ATTR_INDEX, std::uint32_t{index})
      .add(NBD_ATTR_BACKEND_IDENTIFIER, identifier)
      .add(NBD_ATTR_SIZE_BYTES, size);
  netlink_.ask(NBD_CMD_RECONFIGURE, request, "/dev/nbd" + std::to_string(index));
}

void NbdKernel::disconnect(unsigned index) {
  NetlinkAttributes request;
  request.add(NBD_ATTR_INDEX, std::uint32_t{index});
  netlink_.ask(NBD_CMD_DISCONNECT, request, "/dev/nbd" + std::to_string(index));
}

bool NbdKernel::link_died(unsigned index, int milliseconds, const Stop& stop) {
  const auto message = netlink_.receive(milliseconds, stop);
  return message && message->command == NBD_CMD_LINK_DEAD &&
         message->number(NBD_ATTR_INDEX) == index;
}

NbdDevice read_nbd_device(unsigned index) {
  NbdDevice device;
  device.index = index;
  device.pid = static_cast<int>(number_or_none(sysfs(index, "pid")));
  if (device.pid != 0) device.size = number_or_none(sysfs(index, "size")) * kSector;
  device.identifier = sysfs(index, "backend");
  return device;
}

std::vector<NbdDevice> attached_nbd_devices() {
  std::vector<NbdDevice> found;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", none)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with("nbd")) continue;
    const NbdDevice device = read_nbd_device(parse_nbd_device(name));
    if (device.pid != 0) found.push_back(device);
  }
  std::sort(found.begin(), found.end(),
            [](const NbdDevice& a, const NbdDevice& b) { return a.index < b.index; });
  return found;
}

unsigned parse_nbd_device(const std::string& text) {
  std::string_view number = text;
  for (const std::string_view prefix : {"/dev/", "nbd"})
    if (number.starts_with(prefix)) number.remove_prefix(prefix.size());
  try {
    return static_cast<unsigned>(parse_number(number, kMostDevices - 1));
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument("\"" + text + "\" is no NBD device: /dev/nbdN is accepted");
  }
}

}  // namespace r3
