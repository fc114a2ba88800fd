// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/r3_region.hpp"

#include <stdexcept>

#include "libcommon/net/keys.hpp"
#include "libcommon/net/r3_connect.hpp"

namespace r3 {

namespace {

std::string parameter_of(const Region& region, std::string_view name, const std::string& otherwise) {
  const auto found = region.parameters.find(name);
  return found == region.parameters.end() ? otherwise : found->second;
}

R3Security security_of(const Region& region, const RegionOptions& options) {
  const auto parameter = [&](std::string_view name, const std::string& otherwise) {
    return parameter_of(region, name, otherwise);
  };
  R3Security security;
  const auto plain = parameter("plain", options.plain ? "yes" : "no");
  if (plain != "yes" && plain != "no")
    throw std::invalid_argument("region \"" + to_text(region) + "\": plain=yes or plain=no is accepted");
  security.plain = plain == "yes";
  // On one machine the tool's general keys are not meant; a region's own are.
  const bool local = is_local(region.address);
  const auto key = parameter("key-file", local ? "" : options.key_file);
  const auto psk = parameter("psk-file", local ? "" : options.psk_file);
  const auto server = parameter("server-key", "");
  if (!key.empty()) security.keys.own = read_secret_key(KeyKind::secret, key, options.stop);
  if (!psk.empty()) security.keys.psk = read_secret_key(KeyKind::shared, psk, options.stop);
  if (server.starts_with(prefix_of(KeyKind::open)))
    security.keys.peer = parse_public_key(server, "server-key");
  else if (!server.empty())
    security.keys.peer = read_public_key(server, options.stop);
  return security;
}

Compress compress_of(const Region& region) {
  const auto word = parameter_of(region, "compress", "auto");
  if (word == "auto") return Compress::remote;
  if (word == "yes") return Compress::yes;
  if (word == "no") return Compress::no;
  throw std::invalid_argument("region \"" + to_text(region) +
                              "\": compress=auto, compress=yes or compress=no is accepted");
}

}  // namespace

std::unique_ptr<Backend> open_r3(const Region& region, const RegionOptions& options) {
  R3ClientOptions client;
  client.server = to_text(region.address);
  client.export_name = region.rest;
  client.connections = is_one_connection(region.address) ? 1 : options.connections;
  client.read_only = options.read_only;
  client.compress = compress_of(region);
  client.connect_timeout = options.connect_timeout;
  client.io_timeout = options.io_timeout;
  client.only_writer = options.only_writer;
  client.on_change = options.on_change;
  return std::make_unique<R3Client>(
      r3_dial(region.address, security_of(region, options), options.connect_timeout), client);
}

}  // namespace r3
