// SPDX-License-Identifier: Apache-2.0
// region-s3: a region in an S3 bucket, one object a chunk, or one object read by ranges.
#include <stdlib.h>

#include <stdexcept>

#include "libcommon/base/sizes.hpp"
#include "tools/regions/web/remote_file.hpp"
#include "tools/regions/s3/store.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-s3", "a region in an S3 bucket, one object a chunk, or one object read by ranges",
    "s3://BUCKET/NAME?size=SIZE&chunk=SIZE&endpoint=URL&region=REGION&style=path|host&\n"
    "credentials-file=FILE&profile=NAME&anonymous=yes&ca-file=FILE&layout=r3|object|r3map", 64};

constexpr std::uint64_t kDefaultChunk = 256 * r3::KiB;  // a request has its price

struct Plan {
  r3::S3Where where;
  r3::WebOptions web;
  r3::ObjectLayout layout;
  std::string kind;  // "r3", "object", "r3map"
};

std::string home_credentials() {
  if (const char* file = ::getenv("AWS_SHARED_CREDENTIALS_FILE")) return file;
  const char* home = ::getenv("HOME");
  return std::string(home ? home : "") + "/.aws/credentials";
}

void read_endpoint(const r3::UriParameters& parameters, r3::S3Where& where) {
  where.region = r3::parameter(parameters, "region", where.region);
  where.endpoint = r3::parameter(parameters, "endpoint");
  const auto style = r3::parameter(parameters, "style", where.endpoint.empty() ? "host" : "path");
  if (style != "path" && style != "host") throw std::invalid_argument("style=path or style=host is accepted");
  where.host_style = style == "host";
  if (where.endpoint.empty()) where.endpoint = "https://s3." + where.region + ".amazonaws.com";
  while (where.endpoint.ends_with("/")) where.endpoint.pop_back();
  if (!where.endpoint.starts_with("http://") && !where.endpoint.starts_with("https://"))
    throw std::invalid_argument("endpoint=http://HOST[:PORT] or https://... is accepted");
}

Plan plan_of(const r3::HelperOptions& options) {
  Plan plan;
  std::string_view rest = options.region;
  rest.remove_prefix(3);
  const auto parameters = r3::take_uri_parameters(
      rest, {"size", "chunk", "endpoint", "region", "style", "credentials-file", "profile", "anonymous", "ca-file",
             "layout"});
  plan.where.bucket = r3::take_uri_authority(rest);
  plan.where.prefix = r3::percent_decode(rest.substr(std::min<std::size_t>(rest.size(), 1)));
  if (plan.where.bucket.empty() || plan.where.prefix.empty())
    throw std::invalid_argument("s3://BUCKET/NAME is accepted");
  read_endpoint(parameters, plan.where);
  const auto anonymous = r3::parameter(parameters, "anonymous", "no");
  if (anonymous != "yes" && anonymous != "no") throw std::invalid_argument("anonymous=yes or anonymous=no is accepted");
  if (anonymous == "no")
    plan.where.credentials = r3::read_s3_credentials(r3::parameter(parameters, "credentials-file", home_credentials()),
                                                     r3::parameter(parameters, "profile", "default"));
  plan.web.io_timeout = options.io_timeout;
  plan.web.ca_file = r3::parameter(parameters, "ca-file");
  plan.layout = r3::parse_layout(parameters, options.read_only);
  plan.layout.default_chunk = kDefaultChunk;
  plan.kind = r3::parameter(parameters, "layout", "r3");
  if (plan.kind != "r3" && plan.kind != "object" && plan.kind != "r3map")
    throw std::invalid_argument("layout=r3, layout=object or layout=r3map is accepted");
  plan.layout.labelled = plan.kind == "r3";
  plan.where.offset_keys = plan.kind == "r3map";
  if (plan.kind == "r3map" && !(plan.layout.size && plan.layout.chunk))
    throw std::invalid_argument("layout=r3map needs size= and chunk=: nothing in the bucket tells them");
  if (plan.kind == "object" && (plan.layout.size || plan.layout.chunk))
    throw std::invalid_argument("layout=object takes no size= and no chunk=: the object has its own");
  return plan;
}

r3::Helped open(const Plan& plan, const std::string& name) {
  if (plan.kind == "object") {
    const auto bucket = std::make_shared<r3::S3Bucket>(plan.where);
    return {std::make_unique<r3::RemoteFile>(bucket->request("GET", plan.where.prefix).url, plan.web,
                                             [bucket](r3::WebRequest& request) { bucket->sign(request); }), 0};
  }
  auto store = std::make_unique<r3::S3Store>(plan.where, plan.web, plan.layout.chunk.value_or(kDefaultChunk));
  return r3::open_object_region(std::move(store), plan.layout, name);
}

r3::Connect prepare(const r3::HelperOptions& options) try {
  return [plan = plan_of(options), name = options.region](const r3::Stop&) { return open(plan, name); };
} catch (const std::invalid_argument& error) {
  throw std::invalid_argument("region \"" + options.region + "\": " + error.what());
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
