// SPDX-License-Identifier: Apache-2.0
// Who may connect to ram-ul, as the command line says it: the options about keys, and the policy that they make.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libcommon/cli/options.hpp"
#include "libcommon/net/r3_gate.hpp"

namespace r3 {

struct SecurityOptions {
  std::string key_file, peer_keys, psk_file;
  bool plain = false, anonymous = false;

  bool has_keys() const { return !key_file.empty() || !psk_file.empty(); }
};

void declare_security(OptionSet& set, SecurityOptions& options);
// Throws std::invalid_argument for what nobody could use, or too many could.
void check_security(const SecurityOptions& options, const std::vector<std::string>& listen);
// Reads the files. `stop` ends the waiting for keys that come by a FIFO; without one they have to be there soon.
std::shared_ptr<const R3Policy> read_policy(const SecurityOptions& options, const Stop* stop);
// The key by which clients know this server, if it has one.
std::optional<PublicKey> server_key(const R3Policy& policy);

}  // namespace r3
