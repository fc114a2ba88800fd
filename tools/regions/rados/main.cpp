// SPDX-License-Identifier: Apache-2.0
// region-rados: a region in a pool of a Ceph cluster, one object a chunk.
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "tools/regions/rados/store.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-rados", "a region in a pool of a Ceph cluster, one object a chunk",
    "rados:POOL/NAME?size=SIZE&chunk=SIZE&conf=FILE&user=NAME&key-file=FILE&namespace=NAME", 64};

constexpr std::uint64_t kDefaultChunk = 1 * r3::MiB;

r3::Connect prepare(const r3::HelperOptions& options) try {
  std::string_view rest = options.region;
  rest.remove_prefix(r3::uri_scheme(options.region).size() + 1);
  const auto parameters =
      r3::take_uri_parameters(rest, {"size", "chunk", "conf", "user", "key-file", "namespace"});
  const auto slash = rest.find('/');
  r3::RadosWhere where;
  where.pool = r3::percent_decode(rest.substr(0, slash));
  if (slash != rest.npos) where.name = r3::percent_decode(rest.substr(slash + 1));
  if (where.pool.empty() || where.name.empty()) throw std::invalid_argument("rados:POOL/NAME is accepted");
  where.space = r3::parameter(parameters, "namespace");
  r3::RadosAccess access;
  access.configuration = r3::parameter(parameters, "conf");
  access.user = r3::parameter(parameters, "user", access.user);
  access.io_timeout = options.io_timeout;
  if (const auto file = r3::parameter(parameters, "key-file"); !file.empty()) access.key = r3::read_password(file);
  auto layout = r3::parse_layout(parameters, options.read_only);
  layout.default_chunk = kDefaultChunk;
  auto cluster = std::make_shared<r3::RadosCluster>(r3::prepare_rados(access));
  return [cluster, where, layout, name = options.region](const r3::Stop&) {
    return r3::open_object_region(std::make_unique<r3::RadosStore>(std::move(*cluster), where), layout, name);
  };
} catch (const std::invalid_argument& error) {
  throw std::invalid_argument("region \"" + options.region + "\": " + error.what());
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
