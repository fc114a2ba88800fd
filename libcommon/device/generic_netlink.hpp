// SPDX-License-Identifier: Apache-2.0
// Generic netlink as far as a driver needs it: a request with its answer, and the messages of a multicast
// group (Documentation/userspace-api/netlink/intro.rst). Knows no family's commands.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "libcommon/base/bytes.hpp"
#include "libcommon/base/fd.hpp"
#include "libcommon/base/stop.hpp"

namespace r3 {

// The attributes of a message, in the order in which they are added; nested ones are built on their own.
class NetlinkAttributes {
 public:
  NetlinkAttributes& add(std::uint16_t type, std::uint32_t value);
  NetlinkAttributes& add(std::uint16_t type, std::uint64_t value);
  NetlinkAttributes& add(std::uint16_t type, std::string_view text);
  NetlinkAttributes& add(std::uint16_t type, const NetlinkAttributes& nested);
  ConstBytes bytes() const { return bytes_; }

 private:
  void append(std::uint16_t type, ConstBytes value);
  std::vector<std::byte> bytes_;
};

struct NetlinkMessage {
  std::uint8_t command = 0;
  std::vector<std::byte> attributes;

  std::optional<std::uint32_t> number(std::uint16_t type) const;
};

class GenericNetlink {
 public:
  // Throws std::system_error: ENOENT if the kernel has no such family (its module is not loaded).
  explicit GenericNetlink(std::string_view family);

  // Returns the family's answer, if it sends one before it acknowledges. What the kernel refuses is
  // thrown as its errno with `what`. One thread at a time.
  NetlinkMessage ask(std::uint8_t command, const NetlinkAttributes& attributes, std::string_view what);

  // From here on receive() gets what the family tells this group.
  void join(std::string_view group);
  // The next message of a group; none when `milliseconds` have passed or the stop is requested.
  std::optional<NetlinkMessage> receive(int milliseconds, const Stop& stop);

 private:
  void send(std::uint16_t type, std::uint8_t command, std::uint8_t version, ConstBytes attributes);
  NetlinkMessage answer(std::string_view what);

  Fd socket_;
  std::uint32_t sequence_ = 0;
  std::uint16_t family_ = 0;
  std::vector<std::byte> groups_;  // as the kernel's controller described them
  std::deque<NetlinkMessage> pending_;  // came for a group while an answer was awaited
};

}  // namespace r3
