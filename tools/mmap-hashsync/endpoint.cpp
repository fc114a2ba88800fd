// SPDX-License-Identifier: Apache-2.0
#include "tools/mmap-hashsync/endpoint.hpp"

#include <algorithm>
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "libcommon/net/keys.hpp"

namespace r3::sync {

namespace {

constexpr std::chrono::seconds kTimeToOpen{10};

bool same(const SecretKey& one, const SecretKey& other) {
  return one && other ? std::ranges::equal(one.bytes(), other.bytes()) : !one && !other;
}

}  // namespace

std::shared_ptr<const Security> read_security(const SecurityOptions& options, bool listens,
                                              const Stop* stop) {
  const auto made = std::make_shared<Security>();
  Security& security = *made;
  security.plain = options.plain;
  if (!options.peer_keys.empty() && options.key_file.empty())
    throw std::invalid_argument("--peer-keys needs --key-file");
  if (listens && !options.key_file.empty() && options.peer_keys.empty())
    throw std::invalid_argument("--key-file needs --peer-keys: nobody could connect");
  if (listens && !options.server_key.empty())
    throw std::invalid_argument("--server-key is for the side that connects, not for --listen");
  if (!listens && !options.peer_keys.empty())
    throw std::invalid_argument("--peer-keys is for the side that listens");
  ServerKeys server;
  if (!options.key_file.empty()) server.own = read_secret_key(KeyKind::secret, options.key_file, stop);
  if (!options.psk_file.empty()) server.psk = read_secret_key(KeyKind::shared, options.psk_file, stop);
  if (!options.peer_keys.empty()) security.peers = PeerKeys::read(options.peer_keys, stop);
  security.has_peers = !options.peer_keys.empty();
  security.dialling.own = server.own;
  security.dialling.psk = server.psk;
  if (!options.server_key.empty())
    security.dialling.peer = parse_public_key(options.server_key, "--server-key");
  const bool any = server.own || server.psk || security.dialling.peer;
  if (any) security.listening = server;
  if (any && !listens) client_pattern(security.dialling);  // refuses what is no set of keys
  return made;
}

Connection::Connection(Channel channel, const Stop& stop)
    : channel_(std::move(channel)), plain_(channel_.input(), channel_.output(), stop) {}

std::unique_ptr<Connection> Connection::accept(Channel channel, std::shared_ptr<const Security> security,
                                               const Stop& stop) {
  std::unique_ptr<Connection> made(new Connection(std::move(channel), stop));
  if (!security || !security->has_keys()) return made;
  const SecureSession session = server_handshake(made->plain_, *security->listening, kTimeToOpen);
  if (security->has_peers) {
    if (!session.peer || !security->peers.knows(*session.peer)) throw ProtocolError("an unknown key");
    made->peer_ = session.peer;
  }
  made->security_ = std::move(security);
  made->secure_.emplace(made->plain_, session);
  return made;
}

std::unique_ptr<Connection> Connection::dial(const Address& address, const Security& security,
                                             const Stop& leave, const Stop& stop) try {
  std::unique_ptr<Connection> made(new Connection(connect_to(address, kTimeToOpen, leave), stop));
  if (security.has_keys())
    made->secure_.emplace(made->plain_, client_handshake(made->plain_, security.dialling, kTimeToOpen));
  return made;
} catch (const std::system_error& error) {
  throw ConnectionLost(error.code(), to_text(address));
}

bool Connection::may(const std::string& name, bool write) const {
  if (!peer_) return true;
  const Peer* const line = security_->peers.find(*peer_, name);
  return line && (!write || line->writable);
}

bool Connection::agrees_with(const Security& newer) const {
  if (!security_) return true;
  if (!newer.has_keys() || !same(security_->listening->psk, newer.listening->psk)) return false;
  return !peer_ || (newer.peers.knows(*peer_) && security_->peers.same_rights(*peer_, newer.peers));
}

}  // namespace r3::sync
