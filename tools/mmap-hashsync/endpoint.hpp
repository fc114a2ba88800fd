// SPDX-License-Identifier: Apache-2.0
// Connections to peers, plain or encrypted (r3-noise/1), whichever side dialled. Knows keys and addresses, and
// nothing of what is said.
#pragma once

#include <memory>
#include <optional>

#include "libcommon/net/noise_session.hpp"
#include "libcommon/net/peer_keys.hpp"
#include "libcommon/net/secure_stream.hpp"
#include "libcommon/net/socket.hpp"

namespace r3::sync {

// The connection is gone, or could not be had: trying again may help.
class ConnectionLost : public std::system_error {
 public:
  using std::system_error::system_error;
};

struct SecurityOptions {
  std::string key_file, peer_keys, psk_file, server_key;
  bool plain = false;
};

// What this side's keys are. Throws std::invalid_argument for what does not fit together.
struct Security {
  NoiseKeys dialling;
  std::optional<ServerKeys> listening;
  PeerKeys peers;
  bool has_peers = false;
  bool plain = false;

  bool has_keys() const { return listening.has_value(); }
};
// `stop`: as in keys.hpp.
std::shared_ptr<const Security> read_security(const SecurityOptions& options, bool listens,
                                              const Stop* stop);

class Connection {
 public:
  // The listening side's opening, and the dialling side's; within ten seconds. Borrows `stop`, which cuts
  // the connection; `leave` ends dialling.
  static std::unique_ptr<Connection> accept(Channel channel, std::shared_ptr<const Security> security,
                                            const Stop& stop);
  static std::unique_ptr<Connection> dial(const Address& address, const Security& security,
                                          const Stop& leave, const Stop& stop);

  Stream& stream() { return secure_ ? static_cast<Stream&>(*secure_) : plain_; }
  int input() const { return channel_.input(); }
  // Wakes who waits on the stream. Any thread.
  void shut_down() noexcept { channel_.shut_down(); }
  std::string why_ended() const { return channel_.why_ended(); }

  // Whether the peer's key allows it to write (read) files of that name; without keys, everybody may.
  bool may(const std::string& name, bool write) const;
  // Whether its peer may do under these keys what it may do now. The dialling side asks nobody.
  bool agrees_with(const Security& newer) const;

 private:
  Connection(Channel channel, const Stop& stop);

  Channel channel_;
  FdStream plain_;
  std::optional<SecureStream> secure_;
  std::optional<PublicKey> peer_;
  std::shared_ptr<const Security> security_;  // of the listening side
};

}  // namespace r3::sync
