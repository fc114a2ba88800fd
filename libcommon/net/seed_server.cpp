// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/seed_server.hpp"

#include <stdexcept>

#include "libcommon/net/keys.hpp"

namespace r3 {

namespace {

bool has_keys(const SeedAccess& access) { return !access.key_file.empty() || !access.psk_file.empty(); }

std::shared_ptr<const R3Policy> policy_of(const SeedAccess& access) {
  auto policy = std::make_shared<R3Policy>();
  policy->plain = access.plain || !has_keys(access);
  if (has_keys(access)) policy->keys.emplace();
  if (!access.key_file.empty()) policy->keys->own = read_secret_key(KeyKind::secret, access.key_file);
  if (!access.psk_file.empty()) policy->keys->psk = read_secret_key(KeyKind::shared, access.psk_file);
  if (!access.peer_keys.empty()) policy->peers = PeerKeys::read(access.peer_keys);
  return policy;
}

std::vector<R3Export> export_of(Backend& region, Seeder& seeder, bool is_volatile) {
  R3Export one;
  one.backend = &region;
  one.read_only = true;
  one.volatile_content = is_volatile;
  one.migration = &seeder;
  return {one};
}

}  // namespace

void check_seed_access(const SeedAccess& access, const std::vector<std::string>& listen) {
  if (!access.peer_keys.empty() && access.key_file.empty())
    throw std::invalid_argument("--peer-keys needs --key-file");
  if (!access.key_file.empty() && access.peer_keys.empty())
    throw std::invalid_argument("--key-file needs --peer-keys: nobody could connect");
  for (const auto& text : listen) {
    const Address address = parse_address(text);
    if (!has_keys(access) && !access.plain && !is_local(address))
      throw std::invalid_argument(text + " is not on this machine: keys are needed, or --plain");
  }
}

SeedServer::SeedServer(Backend& region, Seeder& seeder, bool is_volatile, const SeedAccess& access,
                       const std::vector<std::string>& listen)
    : server_(export_of(region, seeder, is_volatile), {}), gate_(server_, policy_of(access), {}) {
  for (const auto& text : listen) listeners_.emplace_back(parse_address(text));
  threads_.spawn([this] { gate_.run(listeners_, threads_.stop()); });
}

SeedServer::~SeedServer() { threads_.stop().request(); }

std::vector<std::string> SeedServer::addresses() const {
  std::vector<std::string> all;
  for (const Listener& one : listeners_) all.push_back(to_text(one.address()));
  return all;
}

void SeedServer::set_access(const SeedAccess& access) { gate_.set_policy(policy_of(access)); }

}  // namespace r3
