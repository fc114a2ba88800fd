// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/peer_keys.hpp"

#include <fnmatch.h>
#include <sodium.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/base/input.hpp"
#include "libcommon/net/keys.hpp"

namespace r3 {

namespace {

constexpr std::size_t kMostFile = 16 * MiB;

bool same(const PublicKey& a, const PublicKey& b) {
  return ::sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

[[noreturn]] void refuse(const std::string& where, const std::string& reason) {
  throw std::invalid_argument(where + ": " + reason);
}

// What the line says, or nothing for an empty one. Words are not repeated: one may be a secret.
std::optional<Peer> parse_line(const std::string& line, const std::string& where) {
  std::istringstream words(line.substr(0, line.find('#')));
  std::vector<std::string> fields;
  for (std::string word; words >> word;) fields.push_back(word);
  if (fields.empty()) return {};
  const PublicKey key = parse_public_key(fields[0], where);
  if (fields.size() != 4)
    refuse(where,
           std::to_string(fields.size()) + " words instead of 4 (KEY NAME ro|rw EXPORT-GLOB)");
  if (fields[2] != "ro" && fields[2] != "rw") refuse(where, "the third word is neither ro nor rw");
  return Peer{key, fields[1], fields[2] == "rw", fields[3]};
}

}  // namespace

PeerKeys PeerKeys::parse(std::string_view text, std::string_view source) {
  PeerKeys keys;
  std::set<std::pair<PublicKey, std::string>> seen;
  std::istringstream lines{std::string(text)};
  std::size_t number = 1;
  for (std::string line; std::getline(lines, line); ++number) {
    const std::string where = std::string(source) + ":" + std::to_string(number);
    std::optional<Peer> peer = parse_line(line, where);
    if (!peer) continue;
    if (!seen.insert({peer->key, peer->exports}).second)
      refuse(where, "a second line for this key and these exports");
    keys.peers_.push_back(std::move(*peer));
  }
  return keys;
}

PeerKeys PeerKeys::read(const std::string& path, const Stop* stop) {
  const Fd file = open_input(path);
  struct stat found;
  check(::fstat(file.get(), &found), path);
  if (S_ISREG(found.st_mode) && (found.st_mode & 022) != 0)
    fail(EACCES, path + ": others may write it (chmod go-w it)");
  std::string text(kMostFile + 1, '\0');
  text.resize(read_input(file.get(), std::as_writable_bytes(std::span(text)), path, stop));
  if (text.size() > kMostFile) fail(EFBIG, path);
  return parse(text, path);
}

bool PeerKeys::knows(const PublicKey& key) const {
  return std::any_of(peers_.begin(), peers_.end(),
                     [&](const Peer& peer) { return same(peer.key, key); });
}

bool PeerKeys::same_rights(const PublicKey& key, const PeerKeys& other) const {
  const auto rights = [&](const PeerKeys& keys) {
    std::vector<std::pair<bool, std::string>> lines;
    for (const Peer& peer : keys.peers_)
      if (same(peer.key, key)) lines.emplace_back(peer.writable, peer.exports);
    return lines;
  };
  return rights(*this) == rights(other);
}

const Peer* PeerKeys::find(const PublicKey& key, const std::string& export_name) const {
  for (const Peer& peer : peers_)
    if (same(peer.key, key) && ::fnmatch(peer.exports.c_str(), export_name.c_str(), 0) == 0)
      return &peer;
  return nullptr;
}

}  // namespace r3
