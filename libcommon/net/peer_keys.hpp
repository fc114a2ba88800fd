// SPDX-License-Identifier: Apache-2.0
// Who may do what (--peer-keys FILE, r3tools(7)): one line for each client's public key,
//
//   KEY NAME ro|rw EXPORT-GLOB     # a comment
//
// A key may have several lines: the first whose glob (fnmatch(3)) fits the export counts. Knows nothing of
// connections.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "libcommon/base/stop.hpp"
#include "libcommon/net/secret.hpp"

namespace r3 {

struct Peer {
  PublicKey key;
  std::string name;
  bool writable = false;
  std::string exports;  // the glob
};

class PeerKeys {
 public:
  PeerKeys() = default;
  // Throws std::invalid_argument with `source` and the line's number in its text.
  static PeerKeys parse(std::string_view text, std::string_view source);
  // A file that others may write is refused (std::system_error, EACCES). A FIFO is waited for as in keys.hpp.
  static PeerKeys read(const std::string& path, const Stop* stop = nullptr);

  // Whether any line has the key: false after a reload means that its connections are to be cut.
  bool knows(const PublicKey& key) const;
  // Whether the key has the same lines in both, but for its name.
  bool same_rights(const PublicKey& key, const PeerKeys& other) const;
  // The line that lets the key use the export, or none.
  const Peer* find(const PublicKey& key, const std::string& export_name) const;
  const std::vector<Peer>& peers() const { return peers_; }

 private:
  std::vector<Peer> peers_;
};

}  // namespace r3
