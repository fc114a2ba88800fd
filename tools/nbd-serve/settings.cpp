// SPDX-License-Identifier: Apache-2.0
#include "tools/nbd-serve/settings.hpp"

#include <algorithm>
#include <stdexcept>

#include "libcommon/cli/tool.hpp"

namespace r3 {

namespace {

std::uint32_t block(std::uint64_t size) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(size, UINT32_MAX));
}

void take_first_dash(Settings& settings) {
  if (settings.regions.front() != "-") return;
  settings.regions.erase(settings.regions.begin());
  settings.listen.push_back("-");
  if (settings.regions.empty()) throw std::invalid_argument("REGION is required");
}

}  // namespace

void declare_settings(OptionSet& options, Settings& settings) {
  options.argument("REGION", settings.regions, "what to share: REGION or NAME=REGION");
  options.texts("-l,--listen", "ADDR", settings.listen,
                "where to listen: tcp://HOST:PORT, unix:PATH, vsock://CID:PORT, fd:N or - (repeatable)");
  options.flag("-r,--read-only", settings.read_only, "allow no changes");
  options.text("--description", "TEXT", settings.description, "a text that clients can show");
  options.flag("--plain", settings.plain, "listen where other machines can connect, unencrypted");
  options.size("--min-block", settings.minimum_block, "refuse what is not a multiple of this");
  options.size("--preferred-block", settings.preferred_block, "tell clients what suits best");
  options.size("--max-block", settings.maximum_block, "refuse longer reads and writes");
  options.duration("--handshake-timeout", settings.server.handshake_timeout,
                   "close clients that take longer to choose an export");
  options.number("--max-connections", settings.most_connections, 1, 100'000,
                 "refuse clients beyond this number");
  options.size("--spool-limit", settings.spool_limit,
               "bytes in files for writes of more than 1M, all clients together");
  options.number("--workers", settings.server.workers, 1, 1024,
                 "threads per client for requests that have to wait");
  options.flag("--exit-with-parent", settings.exit_with_parent, "stop when the parent process ends");
}

std::vector<NamedRegion> check_settings(Settings& settings) {
  take_first_dash(settings);
  NbdServerOptions& server = settings.server;
  server.minimum_block = block(settings.minimum_block);
  server.preferred_block = std::max(block(settings.preferred_block), server.minimum_block);
  server.maximum_block = block(settings.maximum_block);
  if (server.handshake_timeout.count() == 0)
    throw std::invalid_argument("--handshake-timeout: no client can choose an export in no time");
  const std::uint64_t least = std::uint64_t{server.maximum_block} * settings.regions.size();
  server.spool = settings.spool_limit == UINT64_MAX ? std::max(GiB, least) : settings.spool_limit;
  if (server.spool < least)
    throw std::invalid_argument("--spool-limit " + std::to_string(server.spool) + ": at least " +
                                std::to_string(least) + " is accepted, --max-block for each export");
  if (std::ranges::count(settings.listen, "-") > 1)
    throw std::invalid_argument("-: standard input and output serve one client, not two");
  for (const auto& text : settings.listen) require_local_or_plain(parse_address(text), settings.plain);

  std::vector<NamedRegion> named;
  std::vector<NbdExport> exports;
  for (const auto& text : settings.regions) {
    named.push_back(parse_named_region(text));
    exports.push_back({named.back().name, settings.description, nullptr, settings.read_only});
  }
  check_usage(exports, server, {"--min-block", "--preferred-block", "--max-block"});
  return named;
}

}  // namespace r3
