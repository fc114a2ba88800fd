// SPDX-License-Identifier: Apache-2.0
// region-redis: a region in a Redis database, one key a chunk.
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "tools/regions/redis/store.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-redis", "a region in a Redis database, one key a chunk",
    "redis://[USER@]HOST[:PORT]/DATABASE/NAME?size=SIZE&chunk=SIZE&password-file=FILE&replicas=N, or\n"
    "redis+unix:///DATABASE/NAME?socket=PATH&...; layout=r3map takes the keys of r3map's regions\n"
    "(NAME, then the offset; size= and chunk= are needed).",
    32};

constexpr std::uint16_t kPort = 6379;

r3::RedisWhere where_of(const r3::HelperOptions& options, r3::ObjectLayout& layout) {
  const auto uri = r3::parse_helper_uri(options.region, kPort,
                                        {"size", "chunk", "password-file", "replicas", "layout", "socket"});
  layout = r3::parse_layout(uri.parameters, options.read_only);
  r3::RedisWhere where;
  where.server = uri.server;
  where.user = uri.user;
  where.io_timeout = options.io_timeout;
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
