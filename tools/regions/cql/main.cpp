// SPDX-License-Identifier: Apache-2.0
// region-cql: a region in a table of Cassandra or Scylla, one row a chunk.
#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "tools/regions/cql/store.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-cql", "a region in a table of Cassandra or Scylla, one row a chunk",
    "cql://[USER@]HOST[:PORT]/KEYSPACE/TABLE/NAME?size=SIZE&chunk=SIZE&consistency=LEVEL&\n"
    "password-file=FILE&protocol=4, or cql+unix://[USER@]/KEYSPACE/TABLE/NAME?socket=PATH&...; layout=r3map takes the\n"
    "rows of r3map's regions (size= and chunk= are needed).",
    32};

constexpr std::uint16_t kPort = 9042;
// Half of a commit log segment, 32 MiB unless a server says otherwise, is the most that Cassandra takes in a row.
constexpr std::uint64_t kLargestChunk = 8 * r3::MiB;

struct Plan {
  r3::CqlWhere where;
  r3::ObjectLayout layout;
};

// KEYSPACE/TABLE/NAME; a NAME may have slashes.
void read_path(const std::string& path, r3::CqlWhere& where) {
  const auto first = path.find('/');
  const auto second = first == path.npos ? first : path.find('/', first + 1);
  if (second != path.npos) {
    where.keyspace = path.substr(0, first);
    where.table = path.substr(first + 1, second - first - 1);
    where.name = path.substr(second + 1);
  }
  if (where.keyspace.empty() || where.table.empty() || where.name.empty())
    throw std::invalid_argument("cql://HOST/KEYSPACE/TABLE/NAME is accepted");
  if (where.name.size() > 1024) throw std::invalid_argument("a NAME of at most 1024 bytes is accepted");
}

Plan plan_of(const r3::HelperOptions& options) {
  const auto uri = r3::parse_helper_uri(options.region, kPort,
                                        {"size", "chunk", "consistency", "password-file", "layout", "protocol", "socket"});
  Plan plan;
  plan.layout = r3::parse_layout(uri.parameters, options.read_only);
  plan.layout.largest_chunk = kLargestChunk;
  read_path(uri.path, plan.where);
  plan.where.server = uri.server;
  plan.where.login.user = uri.user;
  plan.where.io_timeout = options.io_timeout;
  plan.where.make_table = plan.layout.size && !options.read_only;
  plan.where.consistency = r3::parse_cql_consistency(r3::parameter(uri.parameters, "consistency", "LOCAL_QUORUM"));
  if (const auto file = r3::parameter(uri.parameters, "password-file"); !file.empty())
    plan.where.login.password = r3::read_password(file);
  const auto protocol = r3::parameter(uri.parameters, "protocol", "5");
  if (protocol != "4" && protocol != "5") throw std::invalid_argument("protocol=4 or protocol=5 is accepted");
  plan.where.version = protocol == "4" ? 4 : 5;
  const auto kind = r3::parameter(uri.parameters, "layout", "r3");
  if (kind != "r3" && kind != "r3map") throw std::invalid_argument("layout=r3 or layout=r3map is accepted");
  plan.where.labelled = plan.layout.labelled = kind == "r3";
  if (kind == "r3map" && !(plan.layout.size && plan.layout.chunk))
    throw std::invalid_argument("layout=r3map needs size= and chunk=: nothing in the table tells them");
  return plan;
}

r3::Connect prepare(const r3::HelperOptions& options) try {
  return [plan = plan_of(options), name = options.region](const r3::Stop&) {
    return r3::open_object_region(std::make_unique<r3::CqlStore>(plan.where), plan.layout, name);
  };
} catch (const std::invalid_argument& error) {
  const std::string what = error.what();
  throw std::invalid_argument(what.starts_with("region ") ? what : "region \"" + options.region + "\": " + what);
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
