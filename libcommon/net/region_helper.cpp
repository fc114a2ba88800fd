// SPDX-License-Identifier: Apache-2.0
#include "libcommon/net/region_helper.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <stdexcept>
#include <vector>

#include "libcommon/base/error.hpp"
#include "libcommon/net/r3_client.hpp"
#include "libcommon/net/r3_connect.hpp"

namespace r3 {

namespace {

constexpr unsigned kConnections = 1;  // a second one would be a second process

std::string in_directory(std::string_view directory, const std::string& name) {
  const std::string path = std::string(directory) + "/" + name;
  return !directory.empty() && ::access(path.c_str(), X_OK) == 0 ? path : std::string();
}

std::vector<std::string> arguments_of(const std::string& program, const Region& region,
                                      const RegionOptions& options) {
  std::vector<std::string> arguments{program};
  if (options.read_only) arguments.push_back("--read-only");
  if (options.io_timeout.count() > 0)
    arguments.push_back("--io-timeout=" + std::to_string(options.io_timeout.count()) + "ms");
  arguments.push_back(to_text(region));
  return arguments;
}

}  // namespace

std::string find_region_helper(const std::string& scheme) {
  const std::string name = "region-" + scheme.substr(0, scheme.find('+'));
  const auto variable = [](const char* of) {
    const char* value = ::getenv(of);
    return std::string(value ? value : "");
  };
  for (const std::string& directory : {variable("R3_LIBEXEC"), std::string(R3_LIBEXECDIR)})
    if (auto path = in_directory(directory, name); !path.empty()) return path;
  const std::string all = variable("PATH");
  for (std::string_view rest = all; !rest.empty();) {
    const auto directory = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), directory.size() + 1));
    if (auto path = in_directory(directory, name); !path.empty()) return path;
  }
  return {};
}

std::unique_ptr<Backend> open_helped_region(const Region& region, const RegionOptions& options) {
  const std::string program = find_region_helper(region.scheme);
  if (program.empty())
    throw std::invalid_argument("region \"" + to_text(region) + "\": unknown scheme: there is no region-" +
                                region.scheme.substr(0, region.scheme.find('+')) + " in " R3_LIBEXECDIR " or the PATH, and ./" +
                                to_text(region) + " is a file");
  const auto dial = [arguments = arguments_of(program, region, options)](const Stop& stop, auto) {
    Channel channel = start_program(arguments, arguments[0]);
    begin_plain(channel, stop);
    return R3Dialled{make_plain_link(std::move(channel)), true, true};
  };
  R3ClientOptions client;
  client.connections = kConnections;
  client.read_only = options.read_only;
  client.compress = Compress::no;
  client.connect_timeout = options.connect_timeout;
  client.io_timeout = options.io_timeout;
  const auto what = "region \"" + to_text(region) + "\": " + program;
  try {
    return std::make_unique<R3Client>(dial, client);
  } catch (const std::invalid_argument&) {
    throw std::invalid_argument(what + " does not take it");
  } catch (const std::system_error& error) {
    fail(error.code().value(), what);
  }
}

}  // namespace r3
