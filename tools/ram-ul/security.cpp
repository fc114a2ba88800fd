// SPDX-License-Identifier: Apache-2.0
#include "tools/ram-ul/security.hpp"

#include <stdexcept>

#include "libcommon/cli/tool.hpp"
#include "libcommon/net/keys.hpp"

namespace r3 {

void declare_security(OptionSet& set, SecurityOptions& options) {
  set.text("--key-file", "FILE", options.key_file, "this server's private key (r3-key gen)");
  set.text("--peer-keys", "FILE", options.peer_keys,
           "clients: KEY NAME ro|rw EXPORT-GLOB; HUP reads it again");
  set.text("--psk-file", "FILE", options.psk_file, "a pre-shared key (r3-key psk)");
  set.flag("--anonymous", options.anonymous, "let clients without a key read");
  set.flag("--plain", options.plain, "allow plain mode to whoever can connect, without encryption");
}

void check_security(const SecurityOptions& options, const std::vector<std::string>& listen) {
  if (!options.peer_keys.empty() && options.key_file.empty())
    throw std::invalid_argument("--peer-keys needs --key-file");
  if (options.anonymous && options.key_file.empty())
    throw std::invalid_argument("--anonymous needs --key-file: clients know the server by its key");
  if (!options.key_file.empty() && options.peer_keys.empty() && !options.anonymous)
    throw std::invalid_argument("--key-file needs --peer-keys or --anonymous: nobody could connect");
  for (const auto& text : listen)
    if (!options.has_keys()) require_local_or_plain(parse_address(text), options.plain);
}

std::shared_ptr<const R3Policy> read_policy(const SecurityOptions& options, const Stop* stop) {
  auto policy = std::make_shared<R3Policy>();
  policy->plain = options.plain || !options.has_keys();
  if (options.has_keys()) policy->keys.emplace();
  if (!options.key_file.empty())
    policy->keys->own = read_secret_key(KeyKind::secret, options.key_file, stop);
  if (!options.psk_file.empty())
    policy->keys->psk = read_secret_key(KeyKind::shared, options.psk_file, stop);
  if (policy->keys) policy->keys->anonymous = options.anonymous;
  if (!options.peer_keys.empty()) policy->peers = PeerKeys::read(options.peer_keys, stop);
  return policy;
}

std::optional<PublicKey> server_key(const R3Policy& policy) {
  if (!policy.keys || !policy.keys->own) return {};
  return policy.keys->own.public_key();
}

}  // namespace r3
