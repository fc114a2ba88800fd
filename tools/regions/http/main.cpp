// SPDX-License-Identifier: Apache-2.0
// region-http: a file of a web server as a read-only region, read by ranges.
#include <stdexcept>

#include "libcommon/base/error.hpp"
#include "tools/regions/helper.hpp"
#include "tools/regions/helper_uri.hpp"
#include "tools/regions/web/remote_file.hpp"

namespace {

constexpr r3::HelperAbout kAbout = {
    "region-http", "a file of a web server as a read-only region, read by ranges",
    "http://HOST/PATH or https://HOST/PATH, any URL; #user=NAME&password-file=FILE&ca-file=FILE may follow.", 32};

r3::Connect prepare(const r3::HelperOptions& options) try {
  std::string url = options.region;
  r3::UriParameters parameters;
  if (const auto mark = url.find('#'); mark != url.npos) {
    const std::string query = "?" + url.substr(mark + 1);
    std::string_view rest = query;
    parameters = r3::take_uri_parameters(rest, {"user", "password-file", "ca-file"});
    url.erase(mark);
  }
  r3::WebOptions web;
  web.io_timeout = options.io_timeout;
  web.user = r3::parameter(parameters, "user");
  web.ca_file = r3::parameter(parameters, "ca-file");
  if (const auto file = r3::parameter(parameters, "password-file"); !file.empty())
    web.password = r3::read_password(file);
  std::string_view rest = url;
  rest.remove_prefix(r3::uri_scheme(url).size() + 1);
  if (r3::take_uri_authority(rest).find('@') != std::string_view::npos)
    throw std::invalid_argument("#user=NAME&password-file=FILE is accepted for who needs a password");
  return [url, web](const r3::Stop&) -> r3::Helped { return {std::make_unique<r3::RemoteFile>(url, web), 0}; };
} catch (const std::invalid_argument& error) {
  throw std::invalid_argument("region \"" + options.region + "\": " + error.what());
}

}  // namespace

int main(int argc, char** argv) { return r3::serve_helper(argc, argv, kAbout, prepare); }
