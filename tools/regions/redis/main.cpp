// SPDX-License-Identifier: Apache-2.0
// region-redis: a region in a Redis database, one key a chunk.
#include <algorithm>
#include <optional>
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "tools/regions/redis/store.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-redis", "a region in a Redis database, one key a chunk",
    "redis://[USER@]HOST[:PORT]/DATABASE/NAME?size=SIZE&chunk=SIZE&password-file=FILE&replicas=N, or\n"
    "rediss://... with TLS (ca-file=FILE&cert-file=FILE&key-file=FILE), or\n"
    "redis+unix:///DATABASE/NAME?socket=PATH&...; nodes=HOST:PORT,... are replicas, or more nodes of a cluster;\n"
    "layout=r3map takes the keys of r3map's regions (NAME, then the offset; size= and chunk= are needed).",
    32};

constexpr std::uint16_t kPort = 6379;

// What a rediss: region says about certificates.
std::optional<r3::TlsContext> tls_of(const std::string& region, const r3::UriParameters& parameters) {
  const r3::TlsFiles files{r3::parameter(parameters, "ca-file"), r3::parameter(parameters, "cert-file"),
                           r3::parameter(parameters, "key-file")};
  if (region.starts_with("rediss:")) {
    if (files.certificate.empty() != files.key.empty())
      throw std::invalid_argument("cert-file= and key-file= are needed together");
    return r3::TlsContext(files);
  }
  if (region.starts_with("rediss+")) throw std::invalid_argument("TLS is spoken over TCP: rediss://HOST/...");
  if (!files.authorities.empty() || !files.certificate.empty() || !files.key.empty())
    throw std::invalid_argument("ca-file=, cert-file= and key-file= belong to rediss:");
  return std::nullopt;
}

std::vector<r3::Address> nodes_of(std::string_view text) {
  std::vector<r3::Address> nodes;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    nodes.push_back(r3::parse_uri_server("tcp://", text.substr(0, comma), kPort));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return nodes;
}

r3::RedisWhere where_of(const r3::HelperOptions& options, r3::ObjectLayout& layout) {
  const auto uri = r3::parse_helper_uri(options.region, kPort,
                                        {"size", "chunk", "password-file", "replicas", "layout", "socket", "nodes",
                                         "ca-file", "cert-file", "key-file"});
  layout = r3::parse_layout(uri.parameters, options.read_only);
  r3::RedisWhere where;
  where.server = uri.server;
  where.tls = tls_of(options.region, uri.parameters);
  where.others = nodes_of(r3::parameter(uri.parameters, "nodes"));
  where.user = uri.user;
  where.io_timeout = options.io_timeout;
  where.read_only = options.read_only;
  const auto slash = uri.path.find('/');
  if (uri.path.empty() || slash == 0)
    throw std::invalid_argument("redis://HOST/DATABASE/NAME is accepted, with the database's number");
  where.database = std::to_string(r3::parse_number(uri.path.substr(0, slash), 1 << 20));
  if (slash != uri.path.npos) where.name = uri.path.substr(slash + 1);
  where.replicas = static_cast<unsigned>(r3::parse_number(r3::parameter(uri.parameters, "replicas", "0"), 100));
  if (const auto file = r3::parameter(uri.parameters, "password-file"); !file.empty())
    where.password = r3::read_password(file);
  const auto kind = r3::parameter(uri.parameters, "layout", "r3");
  if (kind != "r3" && kind != "r3map") throw std::invalid_argument("layout=r3 or layout=r3map is accepted");
  where.offset_keys = kind == "r3map";
  layout.labelled = !where.offset_keys;
  if (where.offset_keys && !(layout.size && layout.chunk))
    throw std::invalid_argument("layout=r3map needs size= and chunk=: nothing in the database tells them");
  if (!where.offset_keys && where.name.empty())
    throw std::invalid_argument("redis://HOST/DATABASE/NAME is accepted: the NAME is missing");
  return where;
}

r3::Connect prepare(const r3::HelperOptions& options) try {
  r3::ObjectLayout layout;
  const auto where = where_of(options, layout);
  return [where, layout, name = options.region](const r3::Stop& stop) {
    auto store = std::make_unique<r3::RedisStore>(where, layout.chunk.value_or(layout.default_chunk), stop);
    return r3::open_object_region(std::move(store), layout, name);
  };
} catch (const std::invalid_argument& error) {
  const std::string what = error.what();
  throw std::invalid_argument(what.starts_with("region ") ? what : "region \"" + options.region + "\": " + what);
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
