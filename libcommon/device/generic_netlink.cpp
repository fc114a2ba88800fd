// SPDX-License-Identifier: Apache-2.0
#include "libcommon/device/generic_netlink.hpp"

#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "libcommon/base/error.hpp"

namespace r3 {

namespace {

constexpr std::size_t kAlign = NLA_ALIGNTO;

template <class Struct>
Struct cut(ConstBytes bytes) {
  Struct value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

template <class Struct>
ConstBytes bytes_of(const Struct& value) {
  return std::as_bytes(std::span(&value, 1));
}

// Calls `each` with the type and the value of every attribute; stops at one whose length is a lie.
template <class Each>
void for_each_attribute(ConstBytes bytes, Each each) {
  while (bytes.size() >= sizeof(nlattr)) {
    const auto header = cut<nlattr>(bytes);
    if (header.nla_len < sizeof(nlattr) || header.nla_len > bytes.size()) return;
    each(static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
         bytes.subspan(sizeof(nlattr), header.nla_len - sizeof(nlattr)));
    bytes = bytes.subspan(std::min<std::size_t>(round_up(header.nla_len, kAlign), bytes.size()));
  }
}

// What follows the netlink header.
NetlinkMessage message_of(ConstBytes body) {
  const ConstBytes attributes = body.subspan(GENL_HDRLEN);
  return {cut<genlmsghdr>(body).cmd, {attributes.begin(), attributes.end()}};
}

std::vector<std::byte> attribute(ConstBytes attributes, std::uint16_t wanted) {
  std::vector<std::byte> found;
  for_each_attribute(attributes, [&](std::uint16_t type, ConstBytes value) {
    if (type == wanted) found.assign(value.begin(), value.end());
  });
  return found;
}

}  // namespace

void NetlinkAttributes::append(std::uint16_t type, ConstBytes value) {
  const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  const auto head = bytes_of(header);
  bytes_.insert(bytes_.end(), head.begin(), head.end());
  bytes_.insert(bytes_.end(), value.begin(), value.end());
  bytes_.resize(round_up(bytes_.size(), kAlign));
}

NetlinkAttributes& NetlinkAttributes::add(std::uint16_t type, std::uint32_t value) {
  append(type, bytes_of(value));
  return *this;
}

NetlinkAttributes& NetlinkAttributes::add(std::uint16_t type, std::uint64_t value) {
  append(type, bytes_of(value));
  return *this;
}

NetlinkAttributes& NetlinkAttributes::add(std::uint16_t type, std::string_view text) {
  const std::string terminated(text);
  append(type, ConstBytes(reinterpret_cast<const std::byte*>(terminated.c_str()), terminated.size() + 1));
  return *this;
}

NetlinkAttributes& NetlinkAttributes::add(std::uint16_t type, const NetlinkAttributes& nested) {
  append(type | NLA_F_NESTED, nested.bytes());
  return *this;
}

std::optional<std::uint32_t> NetlinkMessage::number(std::uint16_t type) const {
  const auto value = attribute(attributes, type);
  if (value.size() != sizeof(std::uint32_t)) return std::nullopt;
  return cut<std::uint32_t>(value);
}

GenericNetlink::GenericNetlink(std::string_view family) {
  socket_.reset(check(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), "netlink"));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  check(::bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), "netlink");

  NetlinkAttributes name;
  name.add(CTRL_ATTR_FAMILY_NAME, family);
  send(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, name.bytes());
  const NetlinkMessage told = answer(std::string(family) + ": the kernel's netlink family");
  const auto id = attribute(told.attributes, CTRL_ATTR_FAMILY_ID);
  if (id.size() != sizeof family_) fail(ENOENT, family);
  family_ = cut<std::uint16_t>(id);
  groups_ = attribute(told.attributes, CTRL_ATTR_MCAST_GROUPS);
}

void GenericNetlink::send(std::uint16_t type, std::uint8_t command, std::uint8_t version,
                          ConstBytes attributes) {
  std::vector<std::byte> message(NLMSG_HDRLEN + GENL_HDRLEN);
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(message.size() + attributes.size());
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  header.nlmsg_seq = ++sequence_;
  const genlmsghdr general{command, version, 0};
  std::memcpy(message.data(), &header, sizeof header);
  std::memcpy(message.data() + NLMSG_HDRLEN, &general, sizeof general);
  message.insert(message.end(), attributes.begin(), attributes.end());
  check(::send(socket_.get(), message.data(), message.size(), 0), "netlink");
}

NetlinkMessage GenericNetlink::answer(std::string_view what) {
  NetlinkMessage told;
  std::array<std::byte, 32 * KiB> room;
  for (;;) {
    const auto got = ::recv(socket_.get(), room.data(), room.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    check(got, what);
    ConstBytes rest(room.data(), static_cast<std::size_t>(got));
    while (rest.size() >= sizeof(nlmsghdr)) {
      const auto header = cut<nlmsghdr>(rest);
      if (header.nlmsg_len < sizeof header || header.nlmsg_len > rest.size()) break;
      const ConstBytes body = rest.subspan(NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN);
      rest = rest.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
      if (header.nlmsg_type == NLMSG_ERROR && body.size() >= sizeof(nlmsgerr)) {
        const int error = cut<nlmsgerr>(body).error;
        if (error != 0) fail(-error, what);
        return told;
      }
      if (body.size() < GENL_HDRLEN) continue;
      if (header.nlmsg_seq == sequence_)
        told = message_of(body);
      else
        pending_.push_back(message_of(body));
    }
  }
}

NetlinkMessage GenericNetlink::ask(std::uint8_t command, const NetlinkAttributes& attributes,
                                   std::string_view what) {
  send(family_, command, 1, attributes.bytes());
  return answer(what);
}

void GenericNetlink::join(std::string_view group) {
  int id = -1;
  for_each_attribute(groups_, [&](std::uint16_t, ConstBytes entry) {
    const auto name = attribute(entry, CTRL_ATTR_MCAST_GRP_NAME);
    const auto number = attribute(entry, CTRL_ATTR_MCAST_GRP_ID);
    const auto text = as_text(name);
    if (number.size() == sizeof id && text.substr(0, text.find('\0')) == group) id = cut<int>(number);
  });
  if (id < 0) fail(ENOENT, group);
  check(::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &id, sizeof id), group);
}

std::optional<NetlinkMessage> GenericNetlink::receive(int milliseconds, const Stop& stop) {
  if (pending_.empty()) {
    if (wait_for(socket_.get(), POLLIN, stop, milliseconds) != Wait::ready) return std::nullopt;
    std::array<std::byte, 8 * KiB> room;
    const auto got = ::recv(socket_.get(), room.data(), room.size(), MSG_DONTWAIT);
    constexpr ssize_t kHeaders = NLMSG_HDRLEN + GENL_HDRLEN;
    if (got < kHeaders) return std::nullopt;
    pending_.push_back(message_of(ConstBytes(room.data(), static_cast<std::size_t>(got)).subspan(NLMSG_HDRLEN)));
  }
  NetlinkMessage first = std::move(pending_.front());
  pending_.pop_front();
  return first;
}

}  // namespace r3
