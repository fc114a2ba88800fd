// SPDX-License-Identifier: Apache-2.0
#include "tools/r3-mount/owner.hpp"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <stdexcept>

namespace r3 {
namespace {

// Called before any thread starts, so the static results of getpwnam and getgrnam are safe.
std::optional<unsigned> number(const std::string& text, int base) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

Owner parse_owner(const std::string& text) {
  Owner owner;
  const std::size_t colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == text.npos ? "" : text.substr(colon + 1);
  if (user.empty() && group.empty())
    throw std::invalid_argument("--owner: '" + text + "': USER, USER:GROUP or :GROUP is accepted");
  if (!user.empty()) {
    const passwd* entry = ::getpwnam(user.c_str());
    owner.user = entry ? entry->pw_uid : number(user, 10);
    if (!owner.user) throw std::invalid_argument("--owner: no user is called '" + user + "'");
  }
  if (!group.empty()) {
    const ::group* entry = ::getgrnam(group.c_str());
    owner.group = entry ? entry->gr_gid : number(group, 10);
    if (!owner.group) throw std::invalid_argument("--owner: no group is called '" + group + "'");
  }
  return owner;
}

mode_t parse_mode(const std::string& text) {
  const std::optional<unsigned> mode = number(text, 8);
  if (!mode || *mode > 0777)
    throw std::invalid_argument("--mode: '" + text + "': octal up to 0777 is accepted, like 0640");
  return *mode;
}

}  // namespace r3
